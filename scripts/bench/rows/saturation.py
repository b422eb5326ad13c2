"""How much of a device is used when there is always enough to do; and how much while p99 stays below 25 ms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from penstock.bench.load import run
from penstock.bench.plan import Plan
from penstock.bench.statistics import summarise

from ..alone import Alone, alone
from ..bench import Bench, requests
from ..figure import Figure, Must
from ..goodput import search
from ..models import FAST, Device
from ..servers import Service, publish, up
from ..stolen import said, undisturbed

P99_LIMIT = 0.025


def saturated(bench: Bench) -> Iterator[Figure]:
    """Closed loop with eight batches in flight."""
    with bench.scene() as folder, device(folder, FAST) as (service, source):
        loop = alone(source, FAST.batch, bench.effort.probe_s)
        plan = Plan(
            address=service.address,
            bodies=requests(service.name, 1, 16),
            lane="stream",
            concurrency=8 * FAST.batch,
            duration=bench.effort.probe_s,
            warmup=1.0,
            connections=1,
        )
        bench.say("saturated")
        summary, share = undisturbed(lambda: summarise(run(plan)))
        note = f"PredictStream, {plan.concurrency} in flight; {reference(FAST, loop)}{said(share)}"
        raw = {"ours": asdict(summary), "loop": asdict(loop)}
        ours = summary.served_rows
        yield Figure("served / offline, saturated", ours, FAST.rows_per_s(), "rows/s", Must.AT_LEAST, 0.98, note, raw)


def within_25_ms(bench: Bench) -> Iterator[Figure]:
    """Open loop; the server is not told the limit."""
    with bench.scene() as folder, device(folder, FAST) as (service, source):
        loop = alone(source, FAST.batch, bench.effort.probe_s)
        found = search(bench, service, FAST.rows_per_s(), P99_LIMIT, tell_deadline=False)
        note = f"{found.note}, no deadlines sent, failures count as late; {reference(FAST, loop)}"
        raw = {"tries": found.tries, "loop": asdict(loop)}
        name = "greatest open-loop rate with p99 < 25 ms / offline"
        yield Figure(name, found.rate, FAST.rows_per_s(), "rows/s", Must.AT_LEAST, 0.95, note, raw)


def reference(device: Device, loop: Alone) -> str:
    """How the offline rate is meant."""
    return f"offline = B/s(B); the servable in a loop did {loop.rows_per_s:.0f}"


@contextmanager
def device(folder: Path, simulated: Device, instances: int = 1) -> Iterator[tuple[Service, str]]:
    """A simulated device behind a server, and its source."""
    source = simulated.write(folder / "source")
    with up(folder / "up") as server:
        yield publish(server, "device", source, simulated.batch, instances), source
