"""Callers who never stop, and know of each answer whether it is right and whether its version may have given it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

import penstock
from penstock.testing import Server

MODEL = "affine"
SOURCE = """
from penstock import Servable, TensorSpec

class Affine(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 4])}
    outputs = {"y": TensorSpec("FP32", ["batch", 4])}

    def predict(self, x):
        return {"y": x * 3 + OFFSET}
"""
"""Each version adds its own number: what one answers no other does."""
LAG_S = 1.0
"""For so long a gateway may not have heard of a move."""
PAUSE_S = 0.01
"""Between two requests of a caller: on a small machine loads need some processor, too."""


def write_version(folder: Path, number: int) -> str:
    """The source of a version, as `penstock publish` takes it."""
    path = folder / f"affine_{number}.py"
    path.write_text(SOURCE.replace("OFFSET", str(number)))
    return f"{path}:Affine"


def publish(server: Server, folder: Path, number: int, *options: str) -> None:
    """Publish a version under its number, and wait until it is AVAILABLE."""
    server.command("publish", MODEL, write_version(folder, number), "--version", str(number), *options)


@dataclass
class Span:
    """A time in which an alias may have meant a version, in monotonic seconds."""

    version: int
    since: float
    until: float = math.inf


class Timeline:
    """What the alias may have meant when."""

    def __init__(self, version: int) -> None:
        self.now = version
        """What it means for sure, or did until a command began that is not over."""
        self._spans = [Span(version, -math.inf)]

    def moving(self, version: int) -> None:
        """A command that may move it begins: answers of that version may come before the command ends."""
        self._spans.append(Span(version, time.monotonic()))

    def moved(self, version: int) -> None:
        """It means this now, and nothing else any more as soon as gateways have heard of it."""
        until = time.monotonic() + LAG_S
        for span in self._spans:
            if span.version != version:
                span.until = min(span.until, until)
        self.now = version

    def may(self, version: int, sent: float, received: float) -> bool:
        """Whether a request of that time may have been answered by the version."""
        return any(s.version == version and s.since <= received and sent <= s.until for s in self._spans)


@dataclass
class Ledger:
    """What became of the requests."""

    right: int = 0
    wrong_value: int = 0
    """The answer is not what the version that it names gives."""
    wrong_version: int = 0
    """The alias did not mean that version then, or another one was asked for."""
    failures: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    last: tuple[int, float] = (0, 0.0)
    """The version that answered last a caller who named an alias, and when."""
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def asked(self) -> int:
        """All that have ended."""
        return self.right + self.wrong_value + self.wrong_version + self.failures.total()

    @property
    def is_clean(self) -> bool:
        """Every request was answered rightly."""
        return self.right == self.asked

    def figures(self) -> dict[str, object]:
        """For people and programs."""
        return {
            "requests": self.asked,
            "right": self.right,
            "failed": self.failures.total(),
            "wrong values": self.wrong_value,
            "wrong versions": self.wrong_version,
            "versions that answered": len(self.versions),
            **({"failures": dict(self.failures.most_common(5))} if self.failures else {}),
        }

    async def until(self, requests: int) -> None:
        """Wait until so many have ended."""
        while self.asked < requests:
            await self._more()

    async def until_answered_by(self, version: int, since: float) -> None:
        """Wait until the version has answered somebody who named the alias, after that time."""
        while self.last[0] != version or self.last[1] < since:
            await self._more()

    def progress(self) -> None:
        """Something has changed."""
        self._progress.set()

    async def _more(self) -> None:
        self._progress.clear()
        await self._progress.wait()


async def _call(
    client: penstock.AsyncClient, numbers: count[int], line: Timeline, ledger: Ledger, pinned: bool
) -> None:
    while not ledger.stop.is_set():
        x = np.full((1, 4), next(numbers) % 10_000, np.float32)
        version = line.now if pinned else None
        sent = time.monotonic()
        try:
            answer = await client.predict(MODEL, {"x": x}, version=version)
        except penstock.errors.PenstockError as error:
            ledger.failures[str(error)] += 1
            ledger.progress()
            await asyncio.sleep(0.1)
            continue
        received = time.monotonic()
        ledger.versions[answer.version] += 1
        if not np.array_equal(answer["y"], x * 3 + answer.version):
            ledger.wrong_value += 1
        elif answer.version != version if pinned else not line.may(answer.version, sent, received):
            ledger.wrong_version += 1
        else:
            ledger.right += 1
        if not pinned:
            ledger.last = (answer.version, received)
        ledger.progress()
        await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def load_on(server: Server, line: Timeline, callers: int = 8) -> AsyncIterator[Ledger]:
    """Callers for the length of the block, by single calls and by stream; every fourth names a version."""
    ledger, numbers = Ledger(), count()
    async with (
        penstock.AsyncClient(server.grpc, timeout=30, retries=0) as unary,
        penstock.AsyncClient(server.grpc, timeout=30, retries=0, coalesce=True) as stream,
        asyncio.TaskGroup() as group,
    ):
        for caller in range(callers):
            client = unary if caller % 2 else stream
            group.create_task(_call(client, numbers, line, ledger, pinned=caller % 4 == 3))
        await ledger.until(callers)
        try:
            yield ledger
        finally:
            ledger.stop.set()
