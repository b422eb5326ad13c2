"""A servable without a server, in a process of its own: what it does in a loop, and how long one call takes.

python -m bench.alone FILE.py:CLASS ROWS SECONDS
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penstock.bench.statistics import quantile


@dataclass(frozen=True, slots=True)
class Alone:
    """What a loop of calls came to."""

    rows_per_s: float
    p50_ms: float
    p99_ms: float


def alone(source: str, rows: int, seconds: float) -> Alone:
    """Call a servable with batches of `rows`, each when the one before is done."""
    line = [sys.executable, "-m", "bench.alone", source, str(rows), str(seconds)]
    return Alone(**json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout))


def _loop(source: str, rows: int, seconds: float) -> Alone:
    import torch

    servable = _loaded(source)
    (spec,) = servable.inputs.values()
    x = torch.zeros(rows, *spec.shape[1:])
    times: list[float] = []
    began = now = time.perf_counter()
    with torch.inference_mode():
        while now < began + seconds:
            answer = servable.predict(x=x)
            if hasattr(answer, "result"):
                answer.result()
            times.append(-now + (now := time.perf_counter()))
    times.sort()
    return Alone(len(times) * rows / (now - began), 1000 * quantile(times, 0.5), 1000 * quantile(times, 0.99))


def _loaded(source: str) -> Any:
    path, _, name = source.rpartition(":")
    spec = importlib.util.spec_from_file_location("servable_alone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    servable = getattr(module, name)()
    servable.device, servable.files = "cpu", Path(path).parent
    servable.load()
    return servable


if __name__ == "__main__":
    print(json.dumps(asdict(_loop(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))))
