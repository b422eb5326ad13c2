"""Workers that are killed, frozen, or ended by what they are asked: what callers see, and what is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

import penstock
from penstock import errors
from penstock.client import InstanceStatus
from penstock.testing import Server, running

from .processes import held, socket_files
from .questions import CARRIERS, Ask, Ledger, ask_one, carriers, publish

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture(params=["auto", "grpc"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own with two workers, over each carrier."""
    with running(tmp_path / "data", "--carrier", request.param) as server:
        publish(server, tmp_path, instances=2)
        assert carriers(server) == {CARRIERS[request.param]}
        yield server


@dataclass
class Load:
    """Callers who ask without end, each time something else."""

    ledger: Ledger = field(default_factory=Ledger)
    asked: list[Ask] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    """By caller: how many of its calls have ended."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1000))
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, client: penstock.AsyncClient) -> None:
        """Ask until `stop`."""
        caller = len(self.rounds)
        self.rounds.append(0)
        while not self.stop.is_set():
            number = next(self._numbers)
            ask = Ask(number, rows=1 + number % 3, width=150_000 if number % 50 == 0 else 4)
            self.asked.append(ask)
            await ask_one(client, ask, self.ledger)
            self.rounds[caller] += 1
            self._progress.set()

    async def more(self, answers: int) -> None:
        """Wait until so many more right answers have come."""
        goal = self.ledger.outcomes["right"] + answers
        while self.ledger.outcomes["right"] < goal:
            await self._next()

    async def everybody(self) -> None:
        """Wait until each call that is under way has ended."""
        before = list(self.rounds)
        while any(now <= then for now, then in zip(self.rounds, before, strict=True)):
            await self._next()

    async def _next(self) -> None:
        self._progress.clear()
        await self._progress.wait()


@asynccontextmanager
async def load_on(server: Server, callers: int = 24, retries: int = 0) -> AsyncIterator[Load]:
    """Callers for the length of the block."""
    load = Load()
    async with penstock.AsyncClient(server.grpc, retries=retries) as client, asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(load.call(client))
        await load.more(100)
        try:
            yield load
        finally:
            load.stop.set()


def workers(server: Server) -> list[InstanceStatus]:
    """Those of `affine` that can be asked."""
    with penstock.Client(server.grpc) as client:
        (version,) = client.status("affine")[0].versions
    return [instance for instance in version.instances if instance.state == "AVAILABLE" and instance.carrier]


async def until_workers(server: Server, gone: set[int], number: int = 2) -> None:
    """Wait until so many are connected, none of them of those that were killed."""
    while True:
        pids = {worker.pid for worker in await asyncio.to_thread(workers, server)}
        if len(pids) == number and not pids & gone:
            return


async def test_workers_killed_one_after_the_other_cost_no_request_and_leave_nothing_behind(pair: Server) -> None:
    (gateway,) = pair.children("gateway")
    first = workers(pair)[0].pid
    files = len(socket_files(first))
    killed: set[int] = set()
    async with load_on(pair) as load:
        before = held(gateway)
        for _ in range(3):
            victim = (await asyncio.to_thread(workers, pair))[0].pid
            killed.add(victim)
            os.kill(victim, signal.SIGKILL)
            await load.more(200)
            await until_workers(pair, killed)
        await _until_held(gateway, before, pair)
    load.ledger.check(load.asked)
    assert len(socket_files(workers(pair)[0].pid)) <= files


async def _until_held(gateway: int, most: tuple[int, int], server: Server) -> None:
    """Wait until a gateway has given back what it had for dead workers. Two are for the connection that asks here."""
    while True:
        descriptors, memories = held(gateway)
        if descriptors <= most[0] + 2 and memories <= most[1]:
            return
        await asyncio.to_thread(workers, server)


async def test_what_ends_workers_ends_two_at_most_and_then_nobody_runs_it_again(pair: Server) -> None:
    poison = Ask(-1)
    alive = {worker.pid for worker in workers(pair)}
    async with load_on(pair, retries=20) as load, penstock.AsyncClient(pair.grpc, retries=20) as client:
        for _ in range(2):  # the second time it is known
            with pytest.raises(errors.PoisonRequest):
                await client.predict("affine", {"x": poison.x}, timeout=60)
            await load.more(200)
        await until_workers(pair, set())
        survivors = {worker.pid for worker in await asyncio.to_thread(workers, pair)}
        with pytest.raises(errors.PoisonRequest):
            await client.predict("affine", {"x": poison.x})
        await load.more(200)
        assert {worker.pid for worker in await asyncio.to_thread(workers, pair)} == survivors
    load.ledger.check(load.asked)
    assert _crashes(pair) <= 2
    assert len(alive - survivors) <= 2


def _crashes(server: Server) -> int:
    """How many workers ended by themselves, by the supervisor's log."""
    return server.log().count("ended with status 1")


async def test_with_a_frozen_worker_every_call_ends_and_nothing_wrong_is_answered_when_it_thaws(pair: Server) -> None:
    frozen, other = (worker.pid for worker in workers(pair))
    async with load_on(pair) as load:
        os.kill(frozen, signal.SIGSTOP)
        try:
            await asyncio.wait_for(load.everybody(), 15)
            await load.more(300)
        finally:
            os.kill(frozen, signal.SIGCONT)
        await until_workers(pair, set())
        await load.more(300)
    assert load.ledger.outcomes["wrong"] == 0
    assert {error.code.name for error in load.ledger.failures} <= {"UNAVAILABLE"}
    assert {worker.pid for worker in workers(pair)} == {frozen, other}
