from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from penstock import errors
from penstock.signature import Signature
from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb
from penstock.worker.lease import Lease
from penstock.worker.registry_client import Registration, RegistryClient


class Straight(Random):
    """Always the middle of a range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class FakeRegistry(RegistryClient):
    """Grants ever greater epochs; raises what is put into `fail`, one for each call."""

    def __init__(self) -> None:
        self.fail: list[errors.PenstockError] = []
        self.drain = False
        self.epoch = 0
        self.heard: list[tuple[float, str, int, bool]] = []

    def _hear(self, what: str, epoch: int, draining: bool = False) -> None:
        self.heard.append((round(asyncio.get_running_loop().time(), 3), what, epoch, draining))
        if self.fail:
            raise self.fail.pop(0)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def register(
        self, worker: pb.WorkerRecord, signature: Signature, manifest: model_pb2.Manifest
    ) -> Registration:
        self._hear("register", worker.epoch)
        self.epoch += 1
        return Registration(self.epoch, 3.0)

    async def renew(self, worker_id: str, epoch: int, report: pb.LoadReport, *, draining: bool = False) -> bool:
        self._hear("renew", epoch, draining)
        return self.drain


class World:
    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.epochs: list[int] = []
        self.drains = 0
        self.lease = Lease(
            self.registry,
            pb.WorkerRecord(worker_id="w"),
            Signature((), ()),
            model_pb2.Manifest(),
            report=pb.LoadReport,
            on_epoch=self.epochs.append,
            on_drain=self.drain,
            random=Straight(),
        )

    def drain(self) -> None:
        self.drains += 1

    @asynccontextmanager
    async def kept(self, seconds: float) -> AsyncIterator[asyncio.Task[None]]:
        await self.lease.take()
        task = asyncio.create_task(self.lease.keep())
        await asyncio.sleep(seconds)
        yield task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_lease_is_renewed_every_third_of_its_ttl(world: World) -> None:
    async with world.kept(3.5):
        assert world.registry.heard == [
            (0.0, "register", 0, False),
            (1.0, "renew", 1, False),
            (2.0, "renew", 1, False),
            (3.0, "renew", 1, False),
        ]


async def test_a_registry_that_is_not_there_is_asked_again_with_growing_waits(world: World) -> None:
    world.registry.fail = [errors.Unavailable("gone")] * 4
    await world.lease.take()
    waits = [time for time, *_ in world.registry.heard]
    assert waits == [0.0, 0.1, 0.3, 0.7, 1.5]
    assert world.epochs == [1]


async def test_a_lost_lease_is_taken_anew_with_a_greater_epoch(world: World) -> None:
    async with world.kept(1.5):
        world.registry.fail = [errors.LeaseFenced("a newer one exists")]
        await asyncio.sleep(2.0)
    assert world.epochs == [1, 2]
    assert world.registry.heard[-1] == (3.0, "renew", 2, False)


async def test_a_registry_that_fails_otherwise_costs_nothing(world: World) -> None:
    async with world.kept(0.5):
        world.registry.fail = [errors.Unavailable("gone"), errors.DeadlineExceeded("frozen")]
        await asyncio.sleep(3.0)
    assert world.epochs == [1]
    assert [epoch for *_, epoch, _ in world.registry.heard] == [0, 1, 1, 1]


async def test_the_registry_may_ask_for_a_drain(world: World) -> None:
    world.registry.drain = True
    async with world.kept(1.5):
        assert world.drains == 1


async def test_after_its_announcement_a_drain_is_repeated_with_every_renewal(world: World) -> None:
    async with world.kept(0.5):
        await world.lease.announce_drain()
        await asyncio.sleep(2.0)
    assert [draining for *_, draining in world.registry.heard] == [False, True, True, True]


async def test_a_draining_worker_takes_no_new_lease(world: World) -> None:
    async with world.kept(0.5) as keeping:
        await world.lease.announce_drain()
        world.registry.fail = [errors.LeaseFenced("revoked")]
        await keeping
    assert world.epochs == [1]


async def test_a_registry_that_is_gone_does_not_hinder_a_drain(world: World) -> None:
    async with world.kept(0.5):
        world.registry.fail = [errors.Unavailable("gone")]
        await world.lease.announce_drain()
