"""The asyncio batching queue: takes jobs from many calls, hands batches to the device as soon as it is free.

Batch while busy: an idle device starts at once with what is there; while it computes, what arrives collects, and the
next batch takes it. No timer and no knob are needed for that; `max_queue_delay` only exists for those who ask for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence

from ..errors import (
    BatchTooLarge,
    ExpiredInQueue,
    PenstockError,
    QueueFull,
    Violation,
    WorkerDraining,
    WorkerLost,
)
from .batch_queue import BatchPolicy, BatchQueue
from .job import Job

Runner = Callable[[Sequence[Job]], Awaitable[None]]
"""Runs a batch; gives each job its outcome, and never raises."""


class Batcher:
    """Owned by the event loop. `serve` must run for jobs to be answered."""

    def __init__(self, run: Runner, policy: BatchPolicy) -> None:
        self.policy = policy
        self.failures = 0
        """Jobs that were refused, or were too late."""
        self._run = run
        self._queue: BatchQueue[Job] = BatchQueue(policy)
        self._running: Sequence[Job] = ()
        self._arrived = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._draining = False

    @property
    def queued_rows(self) -> int:
        """Rows that wait."""
        return self._queue.rows

    @contextlib.contextmanager
    def admit(self, job: Job) -> Iterator[None]:
        """Queue a job for the time of the `with` block; leaving the block early takes it out again, at no cost.

        Raises:
            BatchTooLarge: it has more rows than any batch.
            QueueFull: as many rows wait as may wait.
            WorkerDraining: this worker is about to end.
        """
        ticket = self._add(job)
        try:
            yield
        finally:
            job.abandoned = True
            self._queue.remove(job.key, ticket)
            self._note_quiet()

    def _add(self, job: Job) -> int:
        refusal = self._refusal(job)
        ticket = None if refusal else self._queue.add(job)
        if ticket is None:
            self.failures += 1
            most = self.policy.max_queue_size
            text = f"{self._queue.rows} rows wait and at most {most} may; try again later, or add instances"
            raise refusal or QueueFull(text)
        self._quiet.clear()
        self._arrived.set()
        return ticket

    def _refusal(self, job: Job) -> PenstockError | None:
        if self._draining:
            return WorkerDraining("this worker is about to end; another one answers")
        limit = self.policy.max_batch_size
        if job.rows > limit:
            text = f"{job.rows} rows, and the model takes at most {limit} at once; split the request"
            return BatchTooLarge(text, violations=[Violation("inputs[0].shape[0]", text)])
        return None

    async def serve(self) -> None:
        """Hand out batches until cancelled. The batch that runs then is not interrupted."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if self.policy.max_queue_delay:
                await self._wait_for_more()
            taken = self._queue.take(loop.time())
            self._refuse_late(taken.late)
            if not self._queue.rows:
                self._arrived.clear()
            self._running = taken.batch
            if taken.batch:
                await self._run(taken.batch)
                self._running = ()
            self._note_quiet()

    async def _wait_for_more(self) -> None:
        """Until a full batch waits, or the delay, counted from now, is over; a worker that drains waits for nothing."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(loop.time() + self.policy.max_queue_delay):
                while not self._draining and not self._queue.full_batch_waits():
                    self._arrived.clear()
                    await self._arrived.wait()
        self._arrived.set()

    def _refuse_late(self, late: Sequence[Job]) -> None:
        self.failures += len(late)
        for job in late:
            job.fail(ExpiredInQueue("the deadline passed before the request could run; it was not run"))

    def refuse_new(self) -> None:
        """From now on only what is queued is served."""
        self._draining = True
        self._arrived.set()  # ends a delay: nothing can come that it would be worth waiting for

    async def drained(self) -> None:
        """Wait until nothing waits and nothing runs."""
        await self._quiet.wait()

    def give_up(self) -> None:
        """Answer what waits and what runs with errors after which a gateway asks another worker."""
        for job in self._queue.take_all():
            job.fail(WorkerDraining("this worker ends before it could run the request; another one answers"))
        for job in self._running:
            job.fail(WorkerLost("this worker ends before the model has answered"))
        self._note_quiet()

    def _note_quiet(self) -> None:
        if not self._queue.rows and not self._running:
            self._quiet.set()
