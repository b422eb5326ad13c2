from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from penstock import errors
from penstock.v1 import model_status_pb2
from penstock.v1 import registry_pb2 as pb
from penstock.v1.model_status_pb2_grpc import ModelStatusServiceStub
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from .conftest import LOADING, SERVICE_UNKNOWN, SERVING, FakeRegistry, Gateway, World, ask, model, request


async def _written(path: Path) -> None:
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(path.exists):
            continue


async def test_without_the_registry_predictions_go_on_and_changes_do_not(world: World) -> None:
    gateway, _ = await world.served()
    await world.stop_registry()
    assert await gateway.predict() == request()
    call: Any = RegistryServiceStub(gateway.channel).ListKeys(pb.ListKeysRequest(), timeout=10)
    with pytest.raises(errors.RegistryUnavailable) as failed:
        await ask(call)
    assert failed.value.reason == "REGISTRY_UNAVAILABLE"


async def test_a_gateway_started_without_the_registry_serves_what_was_last_known(world: World, tmp_path: Path) -> None:
    first, _ = await world.served()
    await _written(tmp_path / "data" / "registry-snapshot.pb")
    first.stop.request()
    await asyncio.shield(first.task)
    await world.stop_registry()
    second = await world.gateway()
    await second.until(SERVING)
    assert await second.predict() == request()


async def test_a_gateway_that_never_knew_anything_says_so_and_not_that_a_model_is_missing(world: World) -> None:
    await world.stop_registry()
    gateway = await world.gateway()
    with pytest.raises(errors.RegistryUnavailable):
        await ask(gateway.predict())


@pytest.mark.parametrize("content", [b"", b"short", bytes(32) + b"not what was written"])
async def test_a_spoiled_snapshot_is_as_good_as_none(world: World, tmp_path: Path, content: bytes) -> None:
    await world.stop_registry()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "registry-snapshot.pb").write_bytes(content)
    gateway = await world.gateway()
    with pytest.raises(errors.RegistryUnavailable):
        await ask(gateway.predict())


async def test_only_the_owner_may_read_the_snapshot(world: World, tmp_path: Path) -> None:
    await world.served()
    path = tmp_path / "data" / "registry-snapshot.pb"
    await _written(path)
    assert path.stat().st_mode & 0o077 == 0


async def test_a_registry_that_comes_back_is_followed_again(world: World) -> None:
    gateway, worker = await world.served()
    await world.stop_registry()
    world.registry.publish(models=[model("new")], workers=[worker.record("new", epoch=8)])
    await world.start_registry()
    await gateway.until(SERVING, "models/new")
    assert await gateway.predict(request("new")) == request("new")


async def test_a_model_that_loads_says_so(world: World) -> None:
    world.registry.publish(models=[model(), model("slow", LOADING)])
    gateway, _ = await world.served()
    with pytest.raises(errors.ModelLoading) as refused:
        await ask(gateway.predict(request("slow"), timeout=1))
    assert refused.value.retry_after == 1.0


async def test_an_emptied_registry_costs_nothing_and_status_says_what_is_held_back(world: World) -> None:
    gateway, _ = await world.served()
    await world.stop_registry()
    world.registry = FakeRegistry("another")
    await world.start_registry()
    await _held_back(gateway, True)
    assert await gateway.predict() == request()
    world.registry.publish(confirmed_revision=1)
    await gateway.until(SERVICE_UNKNOWN)
    with pytest.raises(errors.ModelNotFound):
        await ask(gateway.predict())


async def test_a_worker_that_the_registry_drops_though_it_answers_is_asked_on_until_it_fails(world: World) -> None:
    gateway, worker = await world.served()
    world.registry.publish(removed_workers=["w1"])
    await _held_back(gateway, True)
    assert await gateway.predict() == request()
    world.registry.publish(workers=[worker.record(epoch=8)])
    await _held_back(gateway, False)
    assert await gateway.predict() == request()


async def test_with_several_registries_the_next_is_followed_and_asked_when_one_ends(world: World) -> None:
    other = World(world.folder, AsyncExitStack())
    other.registry = world.registry
    await other.start_registry()
    try:
        world.registry.publish(models=[model()])
        worker = await world.worker()
        both = f"127.0.0.1:{world.registry_port},127.0.0.1:{other.registry_port}"
        gateway = await world.gateway(registry=both)
        await gateway.until(SERVING)
        await world.stop_registry()
        world.registry.publish(models=[model("new")], workers=[worker.record("new", epoch=8)])
        await gateway.until(SERVING, "models/new")
        call: Any = RegistryServiceStub(gateway.channel).ListKeys(pb.ListKeysRequest(), timeout=10)
        await ask(call)
    finally:
        await other.stop_registry()


async def _held_back(gateway: Gateway, held: bool) -> None:
    """Wait until the status says so of the only worker."""
    stub: Any = ModelStatusServiceStub(gateway.channel)
    call = stub.WatchModelStatus(model_status_pb2.WatchModelStatusRequest())
    async with asyncio.timeout(20):
        async for change in call:
            if any(i.held_back is held for m in change.models for v in m.versions for i in v.instances):
                break
    call.cancel()
