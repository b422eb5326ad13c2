from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from penstock import errors
from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from .conftest import LOADING, SERVING, World, ask, model, request


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
