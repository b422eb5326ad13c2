from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from penstock import errors
from penstock.registry.door import Door, Leading
from penstock.registry.replica import ASK_S, Replica


class FakeTerm:
    """Lost when a test says so."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.kept = self.resigned = False

    async def keep(self) -> None:
        self.kept = True
        await asyncio.Event().wait()

    async def resign(self) -> None:
        self.lost.set()
        self.resigned = True


class World:
    """What etcd answers is in `leads`: an address, a term, or an error."""

    def __init__(self) -> None:
        self.leads: str | FakeTerm | Exception = ""
        self.broken: Exception | None = None
        self.served: list[str] = []
        self.asked = 0
        self.door = Door()
        self.replica = Replica(self._campaign, self._lead, self.door, Random(1))

    async def _campaign(self) -> FakeTerm | str:
        self.asked += 1
        if isinstance(self.leads, Exception):
            raise self.leads
        return self.leads

    @asynccontextmanager
    async def _lead(self, term: FakeTerm) -> AsyncIterator[Leading]:
        if self.broken:
            raise self.broken
        self.served.append("begin")
        try:
            yield Leading({}, lambda: not term.lost.is_set(), None)
        finally:
            self.served.append("end")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.replica.run())
        await asyncio.sleep(0.01)
        yield
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world() -> World:
    return World()


async def test_who_leads_does_so_until_the_term_is_lost_and_then_looks_again(world: World) -> None:
    world.leads = first = FakeTerm()
    async with world.running():
        await asyncio.sleep(3600.0)
        assert (world.served, first.kept, first.resigned) == (["begin"], True, False)
        second = FakeTerm()
        world.leads = second
        first.lost.set()
        await asyncio.sleep(ASK_S + 0.1)
        assert world.served == ["begin", "end", "begin"]
        assert first.resigned
    assert second.resigned
    assert world.served[-1] == "end"


async def test_whoever_leads_is_looked_at_twice_a_second_at_least(world: World) -> None:
    await world.door.follow("")
    async with world.running():
        await asyncio.sleep(10.0)
    assert 10.0 / ASK_S <= world.asked <= 20.0 / ASK_S + 1


async def test_a_term_that_cannot_be_begun_is_given_up_for_others(world: World) -> None:
    world.leads = term = FakeTerm()
    world.broken = errors.RegistryUnavailable("the store cannot be reached")
    async with world.running():
        await asyncio.sleep(0.1)
        assert term.resigned
        world.broken = None
        world.leads = FakeTerm()
        await asyncio.sleep(ASK_S)
        assert world.served == ["begin"]


async def test_a_store_that_cannot_be_reached_is_asked_again(world: World) -> None:
    world.leads = errors.RegistryUnavailable("away")
    async with world.running():
        await asyncio.sleep(60.0)
        assert not world.door.known.is_set()
        world.leads = FakeTerm()
        await asyncio.sleep(ASK_S)
        assert world.door.known.is_set()


async def test_a_store_of_a_newer_release_ends_it(world: World) -> None:
    world.leads = FakeTerm()
    world.broken = ValueError("a newer release")
    with pytest.raises(ValueError, match="newer"):
        await world.replica.run()
    assert world.leads.resigned
