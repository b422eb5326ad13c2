"""Calls that come in at a registry that does not lead: they are answered by the one that does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from penstock import errors
from penstock.registry.artifacts import Artifacts
from penstock.registry.audit import PRINCIPAL_KEY
from penstock.registry.door import PASSED_ON, Door, Leading
from penstock.registry.gate import key_gate
from penstock.registry.servicer import SERVICE, RegistryServicer
from penstock.rpc.call import Call
from penstock.rpc.channel import connect
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.rpc.service import method_handlers
from penstock.v1 import registry_pb2 as pb
from penstock.v1 import registry_pb2_grpc

from .conftest import World, entry
from .wire import Stub, ask, header, publish, register, send, watching


class Registry:
    """A door behind a socket."""

    def __init__(self, world: World, artifacts: Artifacts) -> None:
        self.door = Door()
        self.holds = True
        self.came = asyncio.Event()
        self._world = world
        self._artifacts = artifacts

    def gate(self, call: Call) -> None:
        self.door.gate(call)
        self.came.set()

    async def start(self, stack: AsyncExitStack) -> None:
        server = build(CallInterceptor([self.gate]), [], extra={SERVICE.full_name: self.door.handler()})
        self.address = f"127.0.0.1:{bind(server, '127.0.0.1:0', '--registry-port')}"
        await server.start()
        stack.push_async_callback(server.stop, 0)
        stack.push_async_callback(self.door.follow, "")
        self.channel = await stack.enter_async_context(connect(self.address))

    @property
    def stub(self) -> Stub:
        return registry_pb2_grpc.RegistryServiceStub(self.channel)

    async def lead(self, *, keys: bool = False) -> None:
        handlers = method_handlers(SERVICE, RegistryServicer(self._world.registry, self._artifacts))
        gate = key_gate(self._world.registry.keyring) if keys else None
        await self.door.lead(Leading(handlers, lambda: self.holds, gate))


@pytest.fixture
async def two(world: World, artifacts: Artifacts) -> AsyncIterator[tuple[Registry, Registry]]:
    """One that leads, and one that passes on to it."""
    async with AsyncExitStack() as stack:
        leader, other = Registry(world, artifacts), Registry(world, artifacts)
        for registry in (leader, other):
            await registry.start(stack)
        await leader.lead()
        await other.door.follow(leader.address)
        yield leader, other


async def test_every_kind_of_call_is_passed_on_and_so_are_errors(two: tuple[Registry, Registry]) -> None:
    stub = two[1].stub
    assert (await publish(stub)).manifest.version == 1
    assert (await publish(stub, version=1)).existed
    with pytest.raises(errors.VersionExists):
        await publish(stub, b"other", version=1)
    assert (await register(stub)).epoch == 1
    sha256 = hashlib.sha256(b"weights").hexdigest()
    fetched = [message.chunk async for message in stub.FetchFile(pb.FetchFileRequest(sha256=sha256))]
    assert fetched == [b"weights"]
    with pytest.raises(errors.NotFound):
        await ask(stub.FetchFile(pb.FetchFileRequest(sha256="0" * 64)).read())
    async with watching(stub) as watch:
        assert (await watch.read()).models[0].name == "digits"
        await publish(stub, b"second")
        assert [v.manifest.version for v in (await watch.read()).models[0].versions] == [1, 2]


async def test_a_great_upload_that_is_refused_early_is_answered(two: tuple[Registry, Registry]) -> None:
    content = bytes(1024 * 1024) * 32
    chunks = [content[at : at + 1024 * 1024] for at in range(0, len(content), 1024 * 1024)]
    await send(two[0].stub, header(entry(content)), *chunks)
    for _ in range(5):
        again = await send(two[1].stub, header(entry(content), version=1), *chunks)
        assert again.existed


async def test_who_calls_for_whom_is_passed_on(two: tuple[Registry, Registry]) -> None:
    stub = two[1].stub
    await send(stub, header(entry(b"x")), b"x", metadata=((PRINCIPAL_KEY, "ann"),))
    changes = await ask(stub.ListAliasChanges(pb.ListAliasChangesRequest(name="digits")))
    assert [change.principal for change in changes.changes] == ["ann"]


async def test_keys_are_asked_for_by_the_one_that_leads(two: tuple[Registry, Registry], world: World) -> None:
    secret, _ = await world.registry.create_key("ann", ["admin"])
    await two[0].lead(keys=True)
    for registry in two:
        with pytest.raises(errors.AuthMissing):
            await ask(registry.stub.ListKeys(pb.ListKeysRequest()))
        metadata = (("authorization", f"Bearer {secret}"),)
        assert len((await ask(registry.stub.ListKeys(pb.ListKeysRequest(), metadata=metadata))).keys) == 1


async def test_who_came_without_a_key_while_another_one_led_is_not_served_when_this_one_leads(
    two: tuple[Registry, Registry],
) -> None:
    _, other = two
    led = asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        await led.wait()
        yield pb.ListKeysRequest().SerializeToString()

    send: Any = other.channel.stream_unary(f"/{SERVICE.full_name}/ListKeys")
    call = send(late())  # its headers, and no request yet
    await other.came.wait()
    await other.lead(keys=True)
    led.set()
    with pytest.raises(errors.AuthMissing):
        await ask(call)


async def test_while_nobody_leads_calls_are_refused(two: tuple[Registry, Registry]) -> None:
    await two[1].door.follow("")
    with pytest.raises(errors.RegistryUnavailable):
        await ask(two[1].stub.ListKeys(pb.ListKeysRequest()))
    with pytest.raises(errors.RegistryUnavailable):
        await ask(two[1].stub.Watch(pb.WatchRequest()).read())
    with pytest.raises(errors.RegistryUnavailable):
        await publish(two[1].stub)


async def test_two_that_believe_in_each_other_do_not_pass_a_call_to_and_fro(two: tuple[Registry, Registry]) -> None:
    await two[0].door.follow(two[1].address)
    with pytest.raises(errors.RegistryUnavailable):
        await ask(two[1].stub.ListKeys(pb.ListKeysRequest(), timeout=20))


async def test_a_call_that_was_passed_on_already_goes_no_further(two: tuple[Registry, Registry]) -> None:
    with pytest.raises(errors.RegistryUnavailable):
        await ask(two[1].stub.ListKeys(pb.ListKeysRequest(), metadata=((PASSED_ON, "1"),)))


async def test_one_whose_time_is_over_answers_nothing_though_it_has_not_noticed(two: tuple[Registry, Registry]) -> None:
    two[0].holds = False
    for registry in two:
        with pytest.raises(errors.RegistryUnavailable):
            await ask(registry.stub.ListKeys(pb.ListKeysRequest()))


async def test_a_watch_ends_when_another_one_leads_and_the_next_begins_with_everything(
    two: tuple[Registry, Registry],
) -> None:
    leader, other = two
    await publish(other.stub)
    async with watching(other.stub) as watch:
        await watch.read()
        await other.lead()
        with pytest.raises(errors.RegistryUnavailable):
            await ask(watch.read())
    await leader.door.follow(other.address)
    async with watching(leader.stub) as watch:
        first: Any = await watch.read()
        assert first.snapshot
        assert first.models[0].name == "digits"


async def test_one_that_leads_and_is_gone_is_said_to_be_gone(two: tuple[Registry, Registry]) -> None:
    await two[1].door.follow("127.0.0.1:1")
    with pytest.raises(errors.RegistryUnavailable):
        await ask(two[1].stub.ListKeys(pb.ListKeysRequest()))
