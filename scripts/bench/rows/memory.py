"""Whether memory stays flat while the device is saturated and callers give up."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from penstock.bench.load import run
from penstock.bench.plan import Plan
from penstock.bench.processes import resident_bytes
from penstock.bench.statistics import summarise

from ..bench import Bench, requests
from ..figure import Figure, Must
from ..models import STEADY
from .saturation import device


def steady(bench: Bench) -> Iterator[Figure]:
    """Unary calls, a tenth of them cancelled; memory is looked at several times a second."""
    minutes = bench.effort.memory_minutes
    with bench.scene() as folder, device(folder, STEADY) as (service, _):
        pids = {"gateway": service.gateways[0], "worker": service.workers[0]}
        seen: dict[str, list[int]] = {name: [] for name in pids}

        def look() -> None:
            for name, pid in pids.items():
                seen[name].append(resident_bytes(pid))

        plan = Plan(
            address=service.address,
            bodies=requests(service.name, 1, 16),
            concurrency=8 * STEADY.batch,
            duration=60 * minutes,
            warmup=0.0,
            cancel_share=0.1,
            cancel_within=0.05,
        )
        bench.say(f"memory, {minutes:g} minutes")
        summary = summarise(run(plan, on_tick=look))
        outcomes = ", ".join(f"{count} {kind}" for kind, count in summary.outcomes.items())
        for name, sizes in seen.items():
            half = [size / 2**20 for size in sizes[len(sizes) // 2 :]]
            raw = {"mib": [round(size / 2**20, 2) for size in sizes[:: max(len(sizes) // 500, 1)]], "minutes": minutes}
            note = f"{minutes:g} min; greatest over mean of the last half; {outcomes}"
            title = f"memory of the {name} at saturation with cancels"
            yield Figure(title, max(half), mean(half), "MiB", Must.AT_MOST, 1.05, note, raw)
