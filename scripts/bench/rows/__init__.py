"""Every row of the table, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..bench import Bench
from ..figure import Figure
from . import cpu, flat, latency, load, memory, saturation, workers


@dataclass(frozen=True, slots=True)
class Row:
    """One scene that is set up once, and the figures that are measured on it."""

    name: str
    about: str
    measure: Callable[[Bench], Iterator[Figure]]


ROWS = (
    Row("cpu", "CPU per small request: unary over both carriers, and PredictStream", cpu.small),
    Row("large", "CPU per request of 602 KB", cpu.large),
    Row("latency", "latency of a lone caller", latency.idle),
    Row("saturation", "rows served at saturation, device 4 ms + 0.1 ms per row", saturation.saturated),
    Row("p99", "greatest open-loop rate with p99 < 25 ms on the same device", saturation.within_25_ms),
    Row("goodput", "Server/Offline at D = 2, 3, 5 s(B), device 10 ms + 1 ms per row", load.goodput),
    Row("overload", "rows on time at 1.5 times what the device can do", load.overload),
    Row("sweep", "latency and rows on time from idle to twice what the device can do", load.sweep),
    Row("workers", "two, four, and four workers one of which is slow: late binding", workers.late_binding),
    Row("policies", "the same by the other balancers, for comparison", workers.others),
    Row("models", "CPU per request with 1 and 1,000 registered models", flat.models),
    Row("fleet", "CPU per request with 1 and 64 workers", flat.fleet),
    Row("waiting", "CPU per request with 0 and 1,000 waiting", flat.waiting),
    Row("memory", "memory at saturation with callers that give up", memory.steady),
)
