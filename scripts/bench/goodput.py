"""The greatest Poisson rate at which 99 of 100 requests are answered right within a limit, as a share of offline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from penstock.bench.load import run
from penstock.bench.plan import Plan
from penstock.bench.search import Bisection, held
from penstock.bench.statistics import Summary, summarise

from . import stolen
from .bench import Bench, lane_for, requests
from .servers import Service

LOW, HIGH = 0.2, 1.05
"""Between which shares of offline the answer is sought."""
LATE_MS = 5.0
"""More than timers explain: something else was using the machine."""


@dataclass(frozen=True, slots=True)
class Goodput:
    """What a search found."""

    rate: float
    """0: not even `LOW` was held."""
    lane: str
    tries: list[dict[str, Any]]

    @property
    def note(self) -> str:
        """The lane, and whether the load generator was disturbed or at its limit."""
        void = sum(bool(one["void"]) for one in self.tries)
        late = max(one["late_p99_ms"] for one in self.tries)
        disturbed = f", generator late by up to {late:.0f} ms (p99)" if late > LATE_MS else ""
        robbed = sum(one["stolen"] > stolen.MOST for one in self.tries)
        disturbed += f", host took time from {robbed} of {len(self.tries)} tries" if robbed else ""
        return self.lane + disturbed + (f", {void} of {len(self.tries)} tries VOID" if void else "")


def search(
    bench: Bench, service: Service, offline: float, limit: float, *, tell_deadline: bool = True, tolerance: float = 0.0
) -> Goodput:
    """Bisect.

    Args:
        bench: for its effort.
        service: what is asked, with one row each.
        offline: rows per second without a server.
        limit: seconds within which an answer is on time.
        tell_deadline: whether the server is told the limit; else it is only judged by it.
        tolerance: share of offline; 0: as the effort says.
    """
    lane = lane_for(offline)
    bisection = Bisection(LOW * offline, HIGH * offline, (tolerance or bench.effort.tolerance) * offline)
    tries: list[dict[str, Any]] = []
    while (rate := bisection.next()) is not None:
        bench.say(f"{service.name}: {rate:.0f}/s ({rate / offline:.3f} of offline), within {1000 * limit:.1f} ms")
        one = partial(offer, service, rate, limit, bench.effort.probe_s, lane, tell_deadline=tell_deadline)
        summary, share = stolen.undisturbed(partial(one, seed=len(tries)))
        bisection.note(rate, held(summary))
        facts = {"rate": rate, "share": rate / offline, "held": held(summary), "stolen": round(share, 4)}
        tries.append(facts | asdict(summary))
    return Goodput(bisection.best, lane, tries)


def offer(
    service: Service,
    rate: float,
    limit: float,
    seconds: float,
    lane: str,
    *,
    seed: int = 0,
    tell_deadline: bool = True,
) -> Summary:
    """One open loop of one-row requests."""
    plan = Plan(
        address=service.address,
        bodies=requests(service.name, 1, 16),
        lane=lane,
        rate=rate,
        duration=seconds,
        warmup=1.0,
        deadline=limit if tell_deadline else 0.0,
        seed=seed,
        connections=4 if lane == "unary" else 1,
    )
    return summarise(run(plan), limit)
