from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from penstock.errors import RegistryUnavailable
from penstock.rpc.channel import server_options
from penstock.rpc.registries import Registries


@asynccontextmanager
async def listening(address: str) -> AsyncIterator[None]:
    server = grpc.aio.server(options=server_options())
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


@asynccontextmanager
async def made(*addresses: str) -> AsyncIterator[Registries]:
    registries = Registries(" , ".join(addresses))
    try:
        yield registries
    finally:
        await registries.close()


@pytest.fixture
def addresses(tmp_path: Path) -> list[str]:
    return [f"unix:{tmp_path}/{name}" for name in "abc"]


@pytest.mark.parametrize("nothing", ["", " ", ",", " , "])
def test_at_least_one_address_is_needed(nothing: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Registries(nothing)


async def test_the_present_one_stays_until_it_fails_and_after_the_last_comes_the_first(addresses: list[str]) -> None:
    async with made(*addresses) as registries:
        seen = []
        for _ in range(4):
            seen.append(str(registries))
            assert registries.channel is registries.channel
            registries.failed(registries.channel)
        assert seen == [*addresses, addresses[0]]


async def test_a_failure_that_is_told_late_does_not_skip_the_next_one(addresses: list[str]) -> None:
    async with made(*addresses) as registries:
        first = registries.channel
        registries.failed(first)
        registries.failed(first)
        assert str(registries) == addresses[1]


async def test_one_that_is_not_there_is_refused_and_the_next_is_asked(addresses: list[str]) -> None:
    async with listening(addresses[1]), made(*addresses) as registries:
        with pytest.raises(RegistryUnavailable):
            await registries.connected()
        assert await registries.connected() is registries.channel
        assert str(registries) == addresses[1]


async def test_one_that_takes_connections_and_says_nothing_is_given_up(addresses: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/a")
        silent.listen()
        async with made(addresses[0]) as registries:
            with pytest.raises(RegistryUnavailable):
                await asyncio.wait_for(registries.connected(), 20)


async def test_a_pause_ends_when_one_of_them_is_back_which_is_the_present_one_then(addresses: list[str]) -> None:
    async with made(*addresses) as registries:
        with pytest.raises(RegistryUnavailable):
            await registries.connected()
        pausing = asyncio.create_task(registries.pause(3600.0))
        async with listening(addresses[2]):
            await asyncio.wait_for(pausing, 60)
            assert str(registries) == addresses[2]
            assert await registries.connected() is registries.channel


async def test_one_that_is_connected_and_fails_all_the_same_is_not_asked_again_at_once(addresses: list[str]) -> None:
    async with listening(addresses[0]), made(addresses[0]) as registries:
        await registries.connected()
        pausing = asyncio.create_task(registries.pause(3600.0))
        await asyncio.sleep(0)
        await registries.connected()
        assert not pausing.done()
        pausing.cancel()
        await asyncio.gather(pausing, return_exceptions=True)


async def test_a_pause_is_not_longer_than_it_was_asked_to_be(addresses: list[str]) -> None:
    async with made(*addresses) as registries:
        await asyncio.wait_for(registries.pause(0.01), 60)
