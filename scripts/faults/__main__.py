"""What callers and operators notice when the registry, or etcd behind it, is away.

Predictions and changes (one API key after the other) go through one gateway all the time. `paused` is the longest time
without an acknowledged change, which includes the outage itself; `resync` is how long after its end another change was
acknowledged and known to the gateway; `workers` is the least number that the gateway has listed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.testing.etcd import WHERE, has_etcd

from .traffic import flowing
from .worlds import WORKERS, Alone, Several, alone, several

QUIET_S = 3.0
"""Before and after each fault."""
HEAD = (
    f"{'fault':32}{'s':>5}{'right':>9}{'failed':>8}{'wrong':>7}{'p99 ms quiet/fault':>20}"
    f"{'changes':>9}{'refused':>9}{'lost':>6}{'paused':>8}{'resync':>8}{'workers':>9}"
)


@dataclass(frozen=True)
class Fault:
    """Something that is done to the world; it has ended when `happen` returns."""

    name: str
    happen: Callable[[Any, float], Awaitable[None]]
    changes: bool = True
    """Changes are made meanwhile."""


async def _registry_killed(world: Alone, seconds: float) -> None:
    world.registry.kill()
    await asyncio.sleep(seconds)
    await asyncio.to_thread(world.start)


async def _registry_frozen(world: Alone, seconds: float) -> None:
    world.registry.freeze()
    await asyncio.sleep(seconds)
    world.registry.thaw()


async def _registry_emptied(world: Alone, seconds: float) -> None:
    away = world.parts.folder / "away"
    await asyncio.to_thread(world.exchange, away, None)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(world.exchange, world.parts.folder / "empty", away)


async def _disk_full(world: Alone, seconds: float) -> None:
    await asyncio.to_thread(world.fill)
    await asyncio.sleep(seconds)
    world.clear()


async def _leader_killed(world: Several, seconds: float) -> None:
    dead = world.leader()
    dead.kill()
    await asyncio.sleep(seconds)
    await asyncio.to_thread(world.replace, dead)


async def _leader_frozen(world: Several, seconds: float) -> None:
    frozen = world.leader()
    frozen.freeze()
    await asyncio.sleep(seconds)
    frozen.thaw()


async def _member_killed(world: Several, seconds: float, *, leads: bool) -> None:
    member = world.etcd.leader() if leads else world.etcd.followers()[0]
    member.kill()
    await asyncio.sleep(seconds)
    member.start()


async def _member_frozen(world: Several, seconds: float) -> None:
    member = world.etcd.leader()
    member.freeze()
    await asyncio.sleep(seconds)
    member.thaw()


async def _majority_lost(world: Several, seconds: float) -> None:
    gone = world.etcd.followers()
    for member in gone:
        member.kill()
    await asyncio.sleep(seconds)
    for member in gone:
        member.start()


async def _compacted(world: Several, seconds: float) -> None:
    await asyncio.to_thread(world.etcd.compact)
    await asyncio.sleep(seconds)


ALONE = [
    Fault("registry killed", _registry_killed),
    Fault("registry frozen", _registry_frozen),
    Fault("registry emptied", _registry_emptied, changes=False),
    Fault("registry's disk full", _disk_full),
]
SEVERAL = [
    Fault("leading registry killed", _leader_killed),
    Fault("leading registry frozen", _leader_frozen),
    Fault("etcd: follower killed", lambda world, seconds: _member_killed(world, seconds, leads=False)),
    Fault("etcd: leader killed", lambda world, seconds: _member_killed(world, seconds, leads=True)),
    Fault("etcd: leader frozen", _member_frozen),
    Fault("etcd: majority killed", _majority_lost),
    Fault("etcd: compacted", _compacted),
]


async def measure(world: Alone | Several, fault: Fault, seconds: float, instances: int) -> bool:
    """Let it happen under load and print what was seen; whether it was nothing that callers mind."""
    async with flowing(world.gateway, changes=fault.changes) as (traffic, stub, client):
        began = time.monotonic()
        await asyncio.sleep(QUIET_S)
        broke = time.monotonic()
        await fault.happen(world, seconds)
        healed = time.monotonic()
        resync = await traffic.resynced(stub, client, instances)
        await asyncio.sleep(QUIET_S)
        ended = time.monotonic()
        lost = await traffic.lost(stub)
    failed, refused = sum(traffic.failures.values()), sum(traffic.refused.values())
    latency = f"{traffic.p99_ms(began, broke):.1f} / {traffic.p99_ms(broke, healed):.1f}"
    paused = f"{traffic.longest_pause(broke, ended):.2f}" if fault.changes else "-"
    print(
        f"{fault.name:32}{seconds:5.0f}{len(traffic.latencies):9,}{failed:8}{traffic.wrong:7}{latency:>20}"
        f"{len(traffic.made):9,}{refused:9}{lost:6}{paused:>8}{resync:8.2f}{traffic.fewest_workers:9} ",
        *(f"{reason}: {count}" for reason, count in (traffic.failures + traffic.refused).items()),
        flush=True,
    )
    return failed == traffic.wrong == lost == 0 and traffic.fewest_workers == WORKERS


async def measure_all(world: Alone | Several, faults: list[Fault], seconds: float, only: str) -> bool:
    """One after the other; whether all went well."""
    chosen = [fault for fault in faults if only in fault.name]
    outcomes = [await measure(world, fault, seconds, 2 + number % 2) for number, fault in enumerate(chosen)]
    return all(outcomes)


def main() -> int:
    """Run them; 0 if nothing failed, was wrong or was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each fault lasts")
    parser.add_argument("--only", default="", help="faults with this in their name")
    given = parser.parse_args()
    good = True
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if any(given.only in fault.name for fault in ALONE):
            with alone(Path(folder) / "alone") as world:
                faults = [f for f in ALONE if f.happen is not _disk_full or world.disk.is_mount()]
                good &= asyncio.run(measure_all(world, faults, given.seconds, given.only))
        if any(given.only in fault.name for fault in SEVERAL):
            if not has_etcd():
                print(WHERE, file=sys.stderr)
                return 1
            with several(Path(folder) / "several") as members:
                good &= asyncio.run(measure_all(members, SEVERAL, given.seconds, given.only))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
