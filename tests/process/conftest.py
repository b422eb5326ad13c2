"""Real processes: a `penstock up` per test or per module, models made of a few lines, and callers that never stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock
from penstock.testing import Server, running

SCALE = """
from penstock import Servable, TensorSpec

class Scale(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 4])}
    outputs = {"y": TensorSpec("FP32", ["batch", 4])}

    def predict(self, x):
        return {"y": x * FACTOR}
"""


@dataclass
class Load:
    """What callers saw who asked `scale` all the time. Each answer was checked."""

    factor: float
    right: int = 0
    wrong: int = 0
    failures: list[penstock.errors.PenstockError] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self, answers: int) -> None:
        """Wait until so many more right answers have come."""
        goal = self.right + answers
        while self.right < goal:
            self._progress.clear()
            await self._progress.wait()

    async def call(self, client: penstock.AsyncClient, number: int) -> None:
        """Ask until `stop`, always with other values."""
        while not self.stop.is_set():
            number += 1
            x = np.full((1, 4), number % 1000, np.float32)
            try:
                answer = await client.predict("scale", {"x": x})
            except penstock.errors.PenstockError as error:
                self.failures.append(error)
                continue
            if np.array_equal(answer["y"], x * self.factor):
                self.right += 1
            else:
                self.wrong += 1
            self._progress.set()


def load_on(server: Server, **more: Any) -> AbstractAsyncContextManager[Load]:
    """Callers of a server; see `load_at`."""
    return load_at(server.grpc, **more)


@asynccontextmanager
async def load_at(address: str, *, factor: float = 2, callers: int = 16, retries: int = 0) -> AsyncIterator[Load]:
    """Callers for the length of the block."""
    load = Load(factor)
    async with penstock.AsyncClient(address, timeout=20, retries=retries) as client:
        tasks = [asyncio.create_task(load.call(client, 1000 * index)) for index in range(callers)]
        await load.more(50)
        try:
            yield load
        finally:
            load.stop.set()
            await asyncio.gather(*tasks)


def until_state(server: Server, state: str) -> None:
    """Wait until the newest version of `scale` is in a state."""
    with penstock.Client(server.grpc) as client:
        for change in client.watch_status("scale", timeout=60):
            if any(model.versions[0].state == state for model in change.models):
                return


def write_scale(folder: Path, factor: float, name: str = "scale") -> str:
    """A servable that multiplies, as SOURCE for `penstock publish`."""
    path = folder / f"{name}.py"
    path.write_text(SCALE.replace("FACTOR", str(factor)))
    return f"{path}:Scale"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, with `scale` (times 2) published."""
    with running(tmp_path / "data") as server:
        server.command("publish", "scale", write_scale(tmp_path, 2))
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests of a module that do not harm it, with `scale` (times 2) published."""
    folder = tmp_path_factory.mktemp("shared")
    with running(folder / "data") as server:
        server.command("publish", "scale", write_scale(folder, 2))
        yield server
