"""One device that takes 10 ms + 1 ms per row, under Poisson arrivals with deadlines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

from ..alone import alone
from ..bench import Bench, lane_for
from ..figure import Figure, Must
from ..goodput import offer, search
from ..models import STEADY
from ..stolen import said, undisturbed
from .saturation import device, reference

ASKED = {2: 0.80, 3: 0.94, 5: 0.98}
"""Server/Offline by the deadline in units of s(B)."""
LOADS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0)


def goodput(bench: Bench) -> Iterator[Figure]:
    """Server/Offline."""
    offline = STEADY.rows_per_s()
    with bench.scene() as folder, device(folder, STEADY) as (service, source):
        loop = alone(source, STEADY.batch, bench.effort.probe_s)
        for times, must in ASKED.items():
            found = search(bench, service, offline, times * STEADY.full_s)
            note = f"{found.note}; {reference(STEADY, loop)}"
            name = f"Server/Offline, D = {times} s(B)"
            raw = {"tries": found.tries, "loop": asdict(loop)}
            yield Figure(name, found.rate, offline, "rows/s", Must.AT_LEAST, must, note, raw)


def overload(bench: Bench) -> Iterator[Figure]:
    """Half more than the device can do, for a while."""
    offline, limit = STEADY.rows_per_s(), 2 * STEADY.full_s
    with bench.scene() as folder, device(folder, STEADY) as (service, _):
        bench.say("overload")
        lane = lane_for(1.5 * offline)
        one = partial(offer, service, 1.5 * offline, limit, 2 * bench.effort.probe_s, lane)
        summary, share = undisturbed(one)
        note = (
            f"{lane}; offered {summary.offered:.0f}/s{', VOID: ' + summary.void if summary.void else ''}{said(share)}"
        )
        name = "rows on time / offline at 1.5 x overload, D = 2 s(B)"
        ours = 0.0 if summary.void else summary.on_time_rows or 0.0
        yield Figure(name, ours, offline, "rows/s", Must.AT_LEAST, 0.95, note, asdict(summary))


def sweep(bench: Bench) -> Iterator[Figure]:
    """From idle to twice the offline rate, D = 3 s(B); the picture of latency and of what is served."""
    offline, limit = STEADY.rows_per_s(), 3 * STEADY.full_s
    points = []
    with bench.scene() as folder, device(folder, STEADY) as (service, _):
        for share in LOADS:
            bench.say(f"sweep: {share:.2f} of offline")
            one = partial(offer, service, share * offline, limit, bench.effort.probe_s, "stream")
            summary, taken = undisturbed(partial(one, seed=int(100 * share)))
            facts = {"load": share, "offline": offline, "limit_ms": 1000 * limit, "stolen": round(taken, 4)}
            points.append(facts | asdict(summary))
    below = [point for point in points if point["load"] <= 0.95 and not point["void"]]
    worst = min(below, key=lambda point: point["on_time"], default={"on_time": 0.0, "load": 0.0})
    note = f"stream; the worst load was {worst['load']:.2f} of offline"
    name = "on time / offered up to 95 % load, D = 3 s(B)"
    yield Figure(name, worst["on_time"], 1.0, "", Must.AT_LEAST, 0.99, note, {"points": points})
