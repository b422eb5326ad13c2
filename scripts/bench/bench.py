"""What every row uses: how long to measure, and load on an address."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from penstock.bench.load import run
from penstock.bench.plan import PREDICT, Plan
from penstock.bench.samples import Samples
from penstock.bench.statistics import Summary, cpu_us, summarise
from penstock.signature import DType
from penstock.tensors import encode
from penstock.v1 import model_pb2, predict_pb2

STREAM_ABOVE = 400.0
"""Requests per second above which rows use PredictStream: unary calls of grpc.aio would take the whole machine."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a row may take."""

    seconds: float = 3.0
    """Of one round of CPU time."""
    rounds: int = 3
    probe_s: float = 8.0
    """Of one rate of a bisection, or one point of a sweep."""
    tolerance: float = 0.01
    """Of a bisection, as a share of the offline rate."""
    memory_minutes: float = 1.0


QUICK = Effort(seconds=1.0, rounds=1, probe_s=2.0, tolerance=0.05, memory_minutes=0.2)


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers, and the processes that it costs."""

    label: str
    address: str
    bodies: tuple[bytes, ...]
    processes: Mapping[str, Sequence[int]]
    """What each kind of process is called, and the ids of its processes."""
    method: str = PREDICT
    lane: str = "unary"
    connections: int = 4

    def plan(self, **more: Any) -> Plan:
        """Load on it."""
        pids = tuple(pid for pids in self.processes.values() for pid in pids)
        fields: dict[str, Any] = {"lane": self.lane, "connections": self.connections, "watched": pids} | more
        return Plan(address=self.address, bodies=self.bodies, method=self.method, **fields)


@dataclass(slots=True)
class Cost:
    """Rounds on one target."""

    us: dict[str, list[float]] = field(default_factory=dict)
    """CPU microseconds per request of each kind of process, by round."""
    runs: list[Summary] = field(default_factory=list)

    def add(self, target: Target, samples: Samples) -> None:
        """Note a round."""
        summary = summarise(samples)
        failed = {kind: count for kind, count in summary.outcomes.items() if kind != "OK"}
        if failed or not summary.served:
            raise RuntimeError(f"{target.label}: calls failed or none were made: {failed}")
        self.runs.append(summary)
        for name, pids in target.processes.items():
            self.us.setdefault(name, []).append(cpu_us(samples, pids))

    @property
    def total_us(self) -> float:
        """CPU microseconds per request of all server processes: the median round."""
        return median(map(sum, zip(*self.us.values(), strict=True)))

    def raw(self) -> dict[str, Any]:
        """For JSON."""
        latencies = [run.latency_ms for run in self.runs]
        return {
            "us_by_round": self.us,
            "us": {name: median(rounds) for name, rounds in self.us.items()},
            "served_per_s": median(run.served for run in self.runs),
            "client_us": median(run.client_cpu_us for run in self.runs),
            "p50_ms": median(one["p50"] for one in latencies),
            "p99_ms": median(one["p99"] for one in latencies),
        }


@dataclass(slots=True)
class Bench:
    """One run of `make bench`."""

    folder: Path
    effort: Effort
    say: Callable[[str], None]
    _scenes: int = 0

    @contextmanager
    def scene(self) -> Iterator[Path]:
        """An empty folder for the servers and models of one row."""
        self._scenes += 1
        path = self.folder / str(self._scenes)
        path.mkdir(parents=True)
        yield path

    def costs(self, targets: Sequence[Target], concurrency: int) -> dict[str, Cost]:
        """CPU per request of each target in a closed loop; rounds are interleaved: all meet the same machine."""
        found = {target.label: Cost() for target in targets}
        for number in range(self.effort.rounds):
            for target in targets:
                self.say(f"{target.label}, {concurrency} in flight, round {number + 1} of {self.effort.rounds}")
                plan = target.plan(concurrency=concurrency, duration=self.effort.seconds, warmup=0.5, seed=number)
                found[target.label].add(target, run(plan))
        return found


def request(model: str, *shape: int, seed: int = 0) -> bytes:
    """A Predict with random values, raw."""
    x = encode("x", np.random.default_rng(seed).random(shape, np.float32), DType.FP32)
    return predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=model), inputs=[x]).SerializeToString()


def requests(model: str, *shape: int) -> tuple[bytes, ...]:
    """Four that differ in their values."""
    return tuple(request(model, *shape, seed=seed) for seed in range(4))


def lane_for(rate: float) -> str:
    """Unary where the machine can make so many calls."""
    return "stream" if rate > STREAM_ABOVE else "unary"
