"""What a lone caller waits, over the model called where it is, and over a bare echo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from ..alone import alone
from ..bench import Bench, Cost, Target, requests
from ..echo import METHOD, bare_echo
from ..figure import Figure, Must
from ..models import write_echo
from ..servers import publish, up

ASKED = {"p50": 0.6, "p99": 2.0}
"""Milliseconds that may be added to the bare model call."""


def idle(bench: Bench) -> Iterator[Figure]:
    """One request in flight, [1,16] FP32."""
    with bench.scene() as folder, ExitStack() as stack:
        source = f"{write_echo(folder)}:Small"
        service = publish(stack.enter_context(up(folder / "up")), "small", source)
        address, _ = stack.enter_context(bare_echo())
        bodies = requests("small", 1, 16)
        bare = Target("bare echo", address, bodies, {}, METHOD, connections=1)
        unary = Target("unary", service.address, bodies, {}, connections=1)
        stream = Target("PredictStream", service.address, bodies, {}, lane="stream", connections=1)
        costs = bench.costs([bare, unary, stream], 1)
        model = alone(source, 1, bench.effort.seconds)
        calls = {"p50": model.p50_ms, "p99": model.p99_ms}
        for name, must in ASKED.items():
            ours, echo = _spread(costs["unary"], name), _spread(costs["bare echo"], name)
            raw = {"ours": ours, "model": calls, "echo": echo}
            title, note = f"latency of a lone caller, unary, {name}", "over the bare model call in process"
            yield Figure(title, median(ours), calls[name], "ms", Must.ADDED, must, note, raw)
            yield Figure(f"{title}, over a bare echo", median(ours), median(echo), "ms", raw=raw)
            ours = _spread(costs["PredictStream"], name)
            title = f"latency of a lone caller, PredictStream, {name}, over a bare echo"
            yield Figure(title, median(ours), median(echo), "ms", raw={"ours": ours, "echo": echo})


def _spread(cost: Cost, name: str) -> list[float]:
    return [run.latency_ms[name] for run in cost.runs]
