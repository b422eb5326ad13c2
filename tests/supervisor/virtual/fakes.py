"""Children without processes, and a registry that says what a test wants."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.supervisor.child import Child
from penstock.supervisor.fleet import Fleet, FleetConfig
from penstock.supervisor.plan import Want
from penstock.supervisor.registry_follower import Failure, RegistryFollower


def now() -> float:
    return asyncio.get_running_loop().time()


class FakeChild(Child):
    """Ends when it is told to: by `end`, or `drain` seconds after it was asked to stop."""

    def __init__(self, number: int, drain: float) -> None:
        self.name = f"child {number}"
        self.begun = now()
        self.told: dict[str, Any] = {}
        self.asked: list[float] = []
        self._number = number
        self._drain = drain
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._said: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        return 1000 + self._number

    @property
    def exit_status(self) -> int | None:
        return self._status.result() if self._status.done() else None

    def say_ready(self) -> None:
        self._said.set_result({"ready": "worker"})

    def end(self, status: int) -> None:
        if not self._status.done():
            self._status.set_result(status)
        if not self._said.done():
            self._said.set_result(None)

    async def tell(self, facts: Mapping[str, object]) -> None:
        self.told = dict(facts)

    async def ready(self) -> dict[str, Any] | None:
        return await asyncio.shield(self._said)

    async def wait(self) -> int:
        return await asyncio.shield(self._status)

    def signal(self, number: signal.Signals) -> None:
        self.asked.append(now())

    async def stop(self, grace: float) -> int:
        self.signal(signal.SIGTERM)
        if self.exit_status is None:
            await asyncio.sleep(min(self._drain, grace))
            self.end(0)
        return await self.wait()


class FakeFollower(RegistryFollower):
    """What the registry wants is set by the test; what it is told is kept. It may be slow to answer."""

    def __init__(self) -> None:
        self.known = True
        self.wanted: list[Want] = []
        self.leaving: set[str] = set()
        self.revoked: list[str] = []
        self.failures: list[tuple[str, int, Failure]] = []
        self.slowness = 0.0

    def want(self, *wants: Want) -> None:
        self.wanted = list(wants)
        self._listener()

    def leave(self, worker_id: str) -> None:
        self.leaving.add(worker_id)
        self._listener()

    def wants(self) -> list[Want]:
        return self.wanted

    def is_leaving(self, worker_id: str) -> bool:
        return worker_id in self.leaving

    async def revoke(self, worker_id: str) -> None:
        await asyncio.sleep(self.slowness)
        self.revoked.append(worker_id)

    async def report_failure(self, worker_id: str, name: str, version: int, failure: Failure) -> None:
        await asyncio.sleep(self.slowness)
        self.failures.append((name, version, failure))


class World:
    """A fleet and all children that it ever made."""

    def __init__(self, *, spare: bool = False, drain: float = 1.0, start_s: float = 0.0) -> None:
        self.children: list[FakeChild] = []
        self.made = asyncio.Event()
        self.follower = FakeFollower()
        self._drain = drain
        self._start_s = start_s
        config = FleetConfig("127.0.0.1:8010", Path("/data"), Path("/run"), {}, spare=spare, threads=3)
        self.fleet = Fleet(config, self.follower, self._new_child)

    async def _new_child(self) -> Child:
        await asyncio.sleep(self._start_s)
        self.children.append(FakeChild(len(self.children), self._drain))
        self.made.set()
        return self.children[-1]

    @property
    def workers(self) -> list[FakeChild]:
        """Those that run and were given something to do."""
        return [child for child in self.children if child.told and child.exit_status is None]

    @property
    def living(self) -> list[FakeChild]:
        return [child for child in self.children if child.exit_status is None]

    async def want(self, *wants: Want) -> None:
        """The registry wants this; afterwards the fleet has acted."""
        self.follower.want(*wants)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(**more: Any) -> AsyncIterator[World]:
    """At its end nothing lives."""
    world = World(**more)
    task = asyncio.create_task(world.fleet.run())
    await asyncio.sleep(0)
    yield world
    assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await world.fleet.stop()
    assert world.living == []
