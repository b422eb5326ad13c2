"""CPU per request and added latency, each as a ratio against a bare echo server measured in the same run.

The figure that holds on a noisy machine is CPU time of the server processes per request; rounds are interleaved with
the bare server's and the median is taken.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from penstock.signature import DType
from penstock.tensors import encode
from penstock.testing import Server, running
from penstock.v1 import model_pb2, predict_pb2

from .load import Result, load
from .processes import ECHO_METHOD, bare_echo, cpu_seconds

PREDICT = "/penstock.v1.PredictService/Predict"
MODEL = """
import torch
from penstock import Servable, TensorSpec

class Small(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 16])}
    outputs = {"y": TensorSpec("FP32", ["batch", 16])}
    def predict(self, x):
        return {"y": x}

class Image(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 3, 224, 224])}
    outputs = {"y": TensorSpec("FP32", ["batch", 3])}
    def predict(self, x):
        return {"y": x[:, :, 0, 0]}
"""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    figure: str
    ours: float
    reference: float
    must: float
    """The greatest ratio that design section 7 allows (with gRPC between gateway and worker)."""
    unit: str = "CPU us/request"

    @property
    def ratio(self) -> float:
        """Ours over the reference's."""
        return self.ours / self.reference


def request(model: str, shape: tuple[int, ...]) -> bytes:
    """A Predict with random values, raw."""
    x = encode("x", np.random.default_rng(0).random(shape, np.float32), DType.FP32)
    return predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=model), inputs=[x]).SerializeToString()


class Bench:
    """Rounds against one server and one folder for files."""

    def __init__(self, server: Server, folder: Path, seconds: float, rounds: int) -> None:
        self._server, self._folder, self._seconds, self._rounds = server, folder, seconds, rounds

    def cpu(self, figure: str, body: bytes, model: str, concurrency: int, must: float, answer_bytes: int = 0) -> Row:
        """CPU per request of gateway and worker, over the bare server's."""
        gateways = self._server.children("gateway")
        status = self._server.command("status", model)
        workers = [i["pid"] for i in status[0]["versions"][0]["instances"]]
        ours, bare = [], []
        with bare_echo(answer_bytes) as (address, pid):
            for _ in range(self._rounds):
                bare.append(self._round(address, ECHO_METHOD, body, concurrency, [pid])[0])
                ours.append(self._round(self._server.grpc, PREDICT, body, concurrency, gateways + workers)[0])
        return Row(figure, median(ours), median(bare), must)

    def latency(self, body: bytes) -> list[Row]:
        """One caller: the time of a call over the bare server's."""
        ours: list[Result] = []
        bare: list[Result] = []
        with bare_echo() as (address, pid):
            for _ in range(self._rounds):
                bare.append(self._round(address, ECHO_METHOD, body, 1, [pid])[1])
                ours.append(self._round(self._server.grpc, PREDICT, body, 1, [])[1])
        return [
            Row(
                "latency of a lone caller, p50", median(r.p50_ms for r in ours), median(r.p50_ms for r in bare), 0, "ms"
            ),
            Row(
                "latency of a lone caller, p99", median(r.p99_ms for r in ours), median(r.p99_ms for r in bare), 0, "ms"
            ),
        ]

    def _round(self, address: str, method: str, body: bytes, concurrency: int, pids: list[int]) -> tuple[float, Result]:
        load(address, method, body, concurrency, 0.5, self._folder)
        before = cpu_seconds(pids)
        result = load(address, method, body, concurrency, self._seconds, self._folder)
        if result.failures:
            raise RuntimeError(f"{result.failures} calls of {method} failed")
        return (cpu_seconds(pids) - before) / result.answers * 1e6, result


def main() -> int:
    """Measure, print one table, write it to docs/results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("../docs/results"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models.py").write_text(MODEL)
        with running(folder / "data") as server:
            for model in ("Small", "Image"):
                server.command("publish", model.lower(), f"{folder / 'models.py'}:{model}")
            bench = Bench(server, folder, given.seconds, given.rounds)
            small, image = request("small", (1, 16)), request("image", (1, 3, 224, 224))
            rows = [
                bench.cpu("unary, [1,16] FP32, 32 in flight", small, "small", 32, 2.3),
                bench.cpu("unary, [1,16] FP32, 128 in flight", small, "small", 128, 2.3),
                bench.cpu("unary, [1,3,224,224] FP32, 8 in flight", image, "image", 8, 1.5, answer_bytes=12),
                *bench.latency(small),
            ]
    _report(rows, given.results)
    return 0


def _report(rows: list[Row], results: Path) -> None:
    print(f"{'figure':42} {'ours':>9} {'bare':>9} {'ratio':>7} {'must':>6}  unit")
    for row in rows:
        must = f"{row.must:.1f}" if row.must else "-"
        print(f"{row.figure:42} {row.ours:9.2f} {row.reference:9.2f} {row.ratio:7.2f} {must:>6}  {row.unit}")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rows": [vars(row) | {"ratio": round(row.ratio, 3)} for row in rows],
    }
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"bench-{facts['date']}-{commit or 'unknown'}.json"
    path.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    sys.exit(main())
