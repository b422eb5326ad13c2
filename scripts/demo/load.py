"""The demo's callers: concurrent clients that send one image per request, and add up what they see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import penstock

CLIENTS = 4
IN_FLIGHT = 32
"""Requests that each client has in flight."""


@dataclass
class Tally:
    """What came of the requests."""

    digits: dict[tuple[int, int], int] = field(default_factory=dict)
    """By version and the image's index, the digit answered."""
    answered: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `goal` answers are there, or something failed."""
    goal: float = float("inf")
    failures: list[str] = field(default_factory=list)
    versions: dict[int, int] = field(default_factory=dict)
    """How many answers each version gave."""
    batches: float = 0.0
    """Each answer adds 1 / the size of the batch it came from: the sum is the number of batches."""
    seconds: float = 0.0

    @property
    def mean_batch(self) -> float:
        """Rows per batch."""
        return self.answered / self.batches if self.batches else 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds if self.seconds else 0.0


async def send(address: str, images: NDArray[np.float32], tally: Tally, stop: asyncio.Event | None = None) -> None:
    """Send each image once; with `stop`, again and again until it is set."""
    began = time.perf_counter()
    clients = [penstock.AsyncClient(address, timeout=20) for _ in range(CLIENTS)]
    try:
        indices = _indices(len(images), stop)
        callers = [_call(client, indices, images, tally) for client in clients for _ in range(IN_FLIGHT)]
        await asyncio.gather(*callers)
    finally:
        tally.seconds += time.perf_counter() - began
        for client in clients:
            await client.close()


def _indices(size: int, stop: asyncio.Event | None) -> Iterator[int]:
    """The images' indices, shared by all callers."""
    yield from range(size)
    while stop is not None and not stop.is_set():
        yield from range(size)


async def _call(
    client: penstock.AsyncClient, indices: Iterator[int], images: NDArray[np.float32], tally: Tally
) -> None:
    for index in indices:
        try:
            answer = await client.predict("digits", {"image": images[index : index + 1]}, timings=True)
        except penstock.errors.PenstockError as error:
            tally.failures.append(str(error))
            tally.enough.set()
            continue
        tally.answered += 1
        if tally.answered >= tally.goal:
            tally.enough.set()
        tally.digits[answer.version, index] = int(answer["digit"][0])
        tally.versions[answer.version] = tally.versions.get(answer.version, 0) + 1
        if answer.timings is not None:
            tally.batches += 1 / answer.timings.batch_size
