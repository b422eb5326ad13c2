"""A device that works on its own, as an engine sees it, and callers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from penstock.errors import PenstockError
from penstock.worker.engine import BatchPolicy, Done, Engine, Finished, ServiceTimes, buckets
from penstock.worker.job import Job
from penstock.worker.job_future import settled


def now() -> float:
    return asyncio.get_running_loop().time()


class Device:
    """Gives every job its inputs back, or the error that stands in their place. Runs one batch after another.

    Args:
        seconds: of a batch of so many rows.
        asynchronous: as the engine is told.
        host: seconds from the event loop to the device, and back again.
    """

    def __init__(
        self, seconds: Callable[[int], float] = lambda rows: 1.0, *, asynchronous: bool = True, host: float = 0.0
    ) -> None:
        self.asynchronous = asynchronous
        self.seconds, self._host = seconds, host
        self.batches: list[tuple[float, list[int]]] = []
        """When each was handed over, and the rows of its jobs."""
        self.ran: list[Job] = []
        self.written: list[Job] = []
        self.freed: list[Job] = []
        self._free_at = 0.0

    def write(self, job: Job) -> None:
        self.written.append(job)

    def free(self, job: Job) -> None:
        self.freed.append(job)

    def launch(self, batch: Sequence[Job], done: Done) -> None:
        self.batches.append((round(now(), 6), [job.rows for job in batch]))
        self.ran += batch
        seconds = self.seconds(sum(job.rows for job in batch))
        self._free_at = max(now() + self._host, self._free_at) + seconds
        outcomes: list[Any] = [job.inputs for job in batch]
        outcomes = [one[0] if isinstance(one[0], PenstockError) else one for one in outcomes]
        asyncio.get_running_loop().call_at(self._free_at + self._host, done, Finished(outcomes, seconds))


def job(rows: int = 1, deadline: float = math.inf, key: Hashable = "k", **more: Any) -> Job:
    return Job([np.arange(rows)], rows, key, deadline, **more)


def poisoned(error: PenstockError) -> Job:
    inputs: Any = [error]
    return Job(inputs, 1, "k", math.inf)


def engine(device: Device, times: ServiceTimes | None = None, **policy: Any) -> Engine:
    """One that knows how long the device takes, unless it is told what it knows."""
    made = BatchPolicy(**policy)
    if times is None:
        times = ServiceTimes()
        for rows in buckets(made.max_batch_size):
            times.learn(rows, device.seconds(rows))
    return Engine(device, made, times)


async def ask(engine: Engine, job: Job) -> float:
    """Returns when the answer came."""
    answer = settled(job)
    engine.submit(job)
    try:
        await answer
    except asyncio.CancelledError:
        engine.cancel(job)
        raise
    return round(now(), 6)


def asked(engine: Engine, *jobs: Job) -> list[asyncio.Task[float]]:
    return [asyncio.create_task(ask(engine, one)) for one in jobs]


async def later(seconds: float, engine: Engine, job: Callable[[], Job] = job) -> float:
    await asyncio.sleep(seconds)
    return await ask(engine, job())
