"""Several workers of one model: goodput by late binding, and by the balancers that others use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..bench import Bench
from ..figure import Figure, Must
from ..goodput import search
from ..models import STEADY, Device
from ..servers import publish, retire, up

LATE_BINDING = "late_binding"
OTHERS = ("round_robin", "power_of_two_choices", "least_predicted_completion")


@dataclass(frozen=True, slots=True)
class Case:
    """So many workers, a deadline in units of s(B), and the share of offline that is asked."""

    name: str
    workers: int
    times: float
    must: float
    device: Device = STEADY


CASES = (
    Case("two workers, D = 1.5 s(B)", 2, 1.5, 0.75),
    Case("four workers, D = 1.5 s(B)", 4, 1.5, 0.90),
    Case("one worker of four 2 x slower, D = 3 s(B)", 4, 3, 0.95, replace(STEADY, slow=2.0)),
)


def late_binding(bench: Bench) -> Iterator[Figure]:
    """What is asked."""
    yield from _measure(bench, LATE_BINDING, CASES, bench.effort.tolerance)


def others(bench: Bench) -> Iterator[Figure]:
    """For comparison, less finely."""
    for balancer in OTHERS:
        yield from _measure(bench, balancer, CASES, max(0.03, bench.effort.tolerance))


def _measure(bench: Bench, balancer: str, cases: Sequence[Case], tolerance: float) -> Iterator[Figure]:
    with bench.scene() as folder, up(folder / "up", balancer=balancer, spare=False) as server:
        for number, case in enumerate(cases):
            name = f"device{number}"
            source = case.device.write(folder / name)
            service = publish(server, name, source, case.device.batch, case.workers)
            offline = case.device.rows_per_s(case.workers)
            limit = case.times * case.device.full_s
            found = search(bench, service, offline, limit, tolerance=tolerance)
            asked = (Must.AT_LEAST, case.must) if balancer == LATE_BINDING else (Must.NOTHING, 0.0)
            title = f"{case.name}, {balancer}"
            yield Figure(title, found.rate, offline, "rows/s", *asked, found.note, {"tries": found.tries})
            retire(service)
