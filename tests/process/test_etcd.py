"""Several registries over an etcd of three members, while one or the other is away.

No prediction fails, and nothing that was acknowledged is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc.aio
import pytest

from penstock import errors
from penstock.rpc.channel import connect
from penstock.rpc.errors import from_rpc_error
from penstock.testing import Part, Parts, parts
from penstock.testing.etcd import WHERE, Etcd, etcd, has_etcd
from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from .conftest import Load, load_at, write_scale

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not has_etcd(), reason=WHERE),
]


@dataclass
class Writer:
    """Makes one key after the other, and notes which were acknowledged."""

    channel: grpc.aio.Channel
    made: set[str] = field(default_factory=set)
    refused: list[errors.PenstockError] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self) -> None:
        """Until cancelled."""
        stub = RegistryServiceStub(self.channel)
        while True:
            try:
                answer = await stub.CreateKey(pb.CreateKeyRequest(name="writer", scopes=["status:*"]), timeout=20)
                self.made.add(answer.record.key_id)
            except grpc.aio.AioRpcError as error:
                self.refused.append(from_rpc_error(error))
                await asyncio.sleep(0.05)
            self._changed.set()

    async def more(self, keys: int = 0, refused: int = 0) -> None:
        """Wait for so many more."""
        goals = len(self.made) + keys, len(self.refused) + refused
        while len(self.made) < goals[0] or len(self.refused) < goals[1]:
            self._changed.clear()
            await self._changed.wait()

    async def kept(self) -> set[str]:
        """All keys that there are."""
        stub = RegistryServiceStub(self.channel)
        return {key.key_id for key in (await stub.ListKeys(pb.ListKeysRequest(), timeout=20)).keys}


@dataclass
class World:
    """Two registries over one etcd, a gateway and a worker of `scale`."""

    etcd: Etcd
    parts: Parts
    registries: list[Part]
    gateway: Part

    def leader(self) -> Part:
        """The registry that leads; waits for one that runs."""
        while True:
            with suppress(OSError, StopIteration):
                leads = self.etcd.value("/penstock/leader")
                return next(registry for registry in self.registries if registry.runs and registry.address == leads)

    def start_registry(self, port: int = 0) -> Part:
        data = f"--data-dir={self.parts.folder}/registry"
        return self.parts.start("registry", data, f"--registry-port={port}", f"--store={self.etcd.url()}")

    def replace(self, dead: Part) -> None:
        """Start another one at a dead registry's address."""
        port = int(dead.address.rpartition(":")[2])
        self.registries[self.registries.index(dead)] = self.start_registry(port)

    @asynccontextmanager
    async def used(self) -> AsyncIterator[tuple[Load, Writer]]:
        """Predictions and changes for the length of a block; none of the former fails, none of the latter is lost."""
        async with AsyncExitStack() as stack:
            channel = await stack.enter_async_context(connect(self.gateway.address, internal=False))
            writer = Writer(channel)
            load = await stack.enter_async_context(load_at(self.gateway.address))
            writing = asyncio.create_task(writer.write())
            stack.callback(writing.cancel)
            await writer.more(keys=20)
            yield load, writer
            await writer.more(keys=20)
            await load.more(200)
            assert {type(error) for error in writer.refused} <= {errors.RegistryUnavailable}
            assert writer.made <= await writer.kept()
        assert (load.failures, load.wrong) == ([], 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("several")
    with etcd(folder / "etcd", members=3) as members, parts(folder / "parts") as made:
        world = World(members, made, [], None)  # type: ignore[arg-type]
        world.registries = [world.start_registry() for _ in range(2)]
        registries = f"--registry={','.join(registry.address for registry in world.registries)}"
        ports = ("--grpc-port=0", "--http-port=0")
        world.gateway = made.start("gateway", f"--data-dir={folder}/gateway", registries, *ports)
        made.command(world.gateway.address, "publish", "scale", write_scale(folder, 2), "--no-wait")
        made.start("worker", "--name=scale", "--version=1", f"--data-dir={folder}/worker", registries)
        yield world


async def test_when_the_registry_that_leads_is_killed_the_other_one_takes_over(world: World) -> None:
    async with world.used() as (_, writer):
        dead = world.leader()
        dead.kill()
        await writer.more(keys=20)
        assert (await asyncio.to_thread(world.leader)) is not dead
    world.replace(dead)


async def test_a_registry_that_was_frozen_while_it_led_changes_nothing_when_it_thaws(world: World) -> None:
    async with world.used() as (_, writer):
        frozen = world.leader()
        frozen.freeze()
        try:
            await writer.more(keys=20)
        finally:
            frozen.thaw()
        async with connect(frozen.address) as channel:
            thawed = Writer(channel)
            writing = asyncio.create_task(thawed.write())
            await thawed.more(keys=20)  # which it passes on
            writing.cancel()
            assert thawed.made <= await writer.kept()
        assert (await asyncio.to_thread(world.leader)) is not frozen


async def test_a_registry_that_stops_hands_over_at_once(world: World) -> None:
    async with world.used() as (_, writer):
        stopping = world.leader()
        assert await asyncio.to_thread(stopping.stop) == 0
        await writer.more(keys=20)
    world.replace(stopping)


@pytest.mark.parametrize("which", ["follower", "leader"])
async def test_a_member_of_etcd_that_is_killed_costs_nothing_that_was_acknowledged(world: World, which: str) -> None:
    async with world.used() as (_, writer):
        member = world.etcd.leader() if which == "leader" else world.etcd.followers()[0]
        member.kill()
        await writer.more(keys=50)
        member.start()
        await writer.more(keys=50)
    await asyncio.to_thread(world.etcd.wait)


async def test_a_leader_of_etcd_that_is_frozen_costs_nothing_that_was_acknowledged(world: World) -> None:
    async with world.used() as (_, writer):
        member = world.etcd.leader()
        member.freeze()
        try:
            await writer.more(keys=50)
        finally:
            member.thaw()
        await writer.more(keys=50)


async def test_without_a_majority_of_etcd_changes_are_refused_and_predictions_go_on(world: World) -> None:
    async with world.used() as (load, writer):
        gone = world.etcd.followers()
        for member in gone:
            member.kill()
        await writer.more(refused=5)
        await load.more(2000)
        made = len(writer.made)
        await writer.more(refused=2)
        assert len(writer.made) == made
        for member in gone:
            member.start()
        await writer.more(keys=20)
    assert writer.refused


async def test_a_compaction_of_etcd_is_noticed_by_nobody(world: World) -> None:
    async with world.used() as (_, writer):
        await asyncio.to_thread(world.etcd.compact)
        await writer.more(keys=100)
        assert writer.refused == []
