"""A registry on a fresh folder, and one behind a real socket."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from penstock.registry.artifacts import Artifacts
from penstock.registry.registry import Registry, opened
from penstock.registry.servicer import SERVICE, RegistryServicer
from penstock.registry.state import Draft, FileEntry, State, Worker
from penstock.registry.stores.sqlite import SqliteStore
from penstock.rpc.channel import connect
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.v1 import registry_pb2_grpc


class Clock:
    """A clock that stands until a test moves it."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def entry(content: bytes, path: str = "model.pt2") -> FileEntry:
    return FileEntry(path, len(content), hashlib.sha256(content).hexdigest())


def draft(name: str = "digits", version: int = 0, content: bytes = b"weights", **more: object) -> Draft:
    files = (entry(content),)
    return Draft(name, version, "torch_export", "model.pt2", files, **more)  # type: ignore[arg-type]


def worker(worker_id: str = "w1", name: str = "digits", version: int = 1, **more: object) -> Worker:
    fields: dict[str, object] = {"address": "unix:/run/w1", "state": State.AVAILABLE, **more}
    return Worker(worker_id, name, version, **fields)  # type: ignore[arg-type]


@dataclass(slots=True)
class World:
    """A registry with its clocks."""

    registry: Registry
    store: SqliteStore
    wall: Clock
    monotonic: Clock

    async def publish_and_serve(self, version: int, worker_id: str, name: str = "digits") -> None:
        await self.registry.publish(draft(name, version, str(version).encode()), "ann")
        await self.registry.register_worker(worker(worker_id, name, version), None)


@asynccontextmanager
async def stored(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    wall, monotonic = Clock(), Clock(0.0)
    async with stored(tmp_path / "registry.db") as store:
        yield World(await opened(store, wall=wall, monotonic=monotonic), store, wall, monotonic)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


@pytest.fixture
async def channel(world: World, artifacts: Artifacts) -> AsyncIterator[grpc.aio.Channel]:
    server = build(CallInterceptor(), [(SERVICE, RegistryServicer(world.registry, artifacts))])
    port = bind(server, "127.0.0.1:0", "--registry-port")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> registry_pb2_grpc.RegistryServiceAsyncStub:
    return registry_pb2_grpc.RegistryServiceStub(channel)
