"""The asyncio batching queue: takes jobs from many calls, hands batches to the device as soon as it is free.

Batch while busy: an idle device starts at once with what is there; while it computes, what arrives collects, and the
next batch takes it. No timer and no knob are needed for that; `max_queue_delay` only exists for those who ask for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from ..errors import BatchTooLarge, ExpiredInQueue, QueueFull, Violation, WorkerDraining
from .batch_queue import BatchPolicy, BatchQueue
from .job import Job

Runner = Callable[[Sequence[Job]], Awaitable[None]]
"""Runs a batch; gives each job its outcome, and never raises."""


class Batcher:
    """Owned by the event loop. `serve` must run for jobs to be answered."""

    def __init__(self, run: Runner, policy: BatchPolicy) -> None:
        self.policy = policy
        self._run = run
        self._queue: BatchQueue[Job] = BatchQueue(policy)
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @property
    def queued_rows(self) -> int:
        """Rows that wait."""
        return self._queue.rows

    @contextlib.contextmanager
    def admit(self, job: Job):  # type: ignore[no-untyped-def]
        """Queue a job for the time of the `with` block; leaving the block early takes it out again, at no cost.

        Raises:
            BatchTooLarge: it has more rows than any batch.
            QueueFull: as many rows wait as may wait.
            WorkerDraining: this worker is about to end.
        """
        self._check(job)
        ticket = self._queue.add(job)
        if ticket is None:
            most = self.policy.max_queue_size
            text = f"{self._queue.rows} rows wait and at most {most} may; try again later, or add instances"
            raise QueueFull(text)
        self._arrived.set()
        try:
            yield
        finally:
            job.abandoned = True
            self._queue.remove(job.key, ticket)

    def _check(self, job: Job) -> None:
        if self._draining:
            raise WorkerDraining("this worker is about to end; another one answers")
        limit = self.policy.max_batch_size
        if job.rows > limit:
            text = f"{job.rows} rows, and the model takes at most {limit} at once; split the request"
            raise BatchTooLarge(text, violations=[Violation("inputs[0].shape[0]", text)])

    async def serve(self) -> None:
        """Hand out batches until cancelled. The batch that runs then is not interrupted."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if self.policy.max_queue_delay:
                await self._wait_for_more()
            taken = self._queue.take(loop.time())
            for job in taken.late:
                job.fail(ExpiredInQueue("the deadline passed before the request could run; it was not run"))
            if not self._queue.rows:
                self._arrived.clear()
            if taken.batch:
                self._idle.clear()
                await self._run(taken.batch)
                self._idle.set()

    async def _wait_for_more(self) -> None:
        """Until a full batch waits or the delay, counted from now, is over."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(loop.time() + self.policy.max_queue_delay):
                while not self._queue.full_batch_waits():
                    self._arrived.clear()
                    await self._arrived.wait()
        self._arrived.set()

    def refuse_new(self) -> None:
        """From now on only what is queued is served."""
        self._draining = True

    async def drained(self) -> None:
        """Wait until nothing waits and nothing runs."""
        while self._queue.rows or not self._idle.is_set():
            await self._idle.wait()
            await asyncio.sleep(0)
