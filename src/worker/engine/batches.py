"""Batches on their way: closed in time, handed to the device, and told to their callers.

Batch while busy: an idle device starts at once with what is there; while it computes, what arrives collects. Shortly
before the device is free the next batch is closed and handed over, so that the device never waits for the event loop.
No knob is needed for that; `max_queue_delay` only exists for those who ask for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from ...errors import ExpiredInQueue, PenstockError
from ..job import Job, Outcome
from .closing import TICK, Start, Timeline
from .executor import Executor, Finished
from .load import Counters
from .policy import BatchPolicy
from .queue import BatchQueue
from .service_time import ServiceTimes

_PROBE = 16
"""After so many batches in a row that an idle device could not answer in time, it is asked all the same: an estimate
that only refuses would never be put right."""

log = logging.getLogger("penstock.worker")


class Batches:
    """Takes what waits out of the queue. The engine puts it in, and says so by `wake`.

    Args:
        queue: what waits.
        executor: runs the batches.
        policy: how requests are joined.
        times: what is known of the model; kept fresh from here on.
        counters: of what is done.
        on_quiet: called when there may be nothing left to do.
    """

    def __init__(
        self,
        queue: BatchQueue[Job],
        executor: Executor,
        policy: BatchPolicy,
        times: ServiceTimes,
        counters: Counters,
        on_quiet: Callable[[], None],
    ) -> None:
        self.line = Timeline(asynchronous=executor.asynchronous)
        self.running: deque[Sequence[Job]] = deque()
        """What the device has been given, and not brought back."""
        self.running_rows = 0
        self.waking: asyncio.Handle | None = None
        """Closes the next batch; None: none is due before one comes back."""
        self.since = 0.0
        """When the oldest of what waits arrived, or earlier."""
        self.hurries = False
        """Nothing more comes: an idle device waits for nothing."""
        self.on_room: Callable[[], None] | None = None
        """See Engine."""
        self._queue, self._executor, self._policy = queue, executor, policy
        self._times, self._counters, self._on_quiet = times, counters, on_quiet
        self._loop = asyncio.get_running_loop()
        self._offering: asyncio.TimerHandle | None = None
        self._hopeless = 0

    def delays(self) -> bool:
        """An idle device waits for more rows."""
        return bool(self._policy.max_queue_delay) and not self.line.busy and not self.hurries

    def _close_at(self, now: float) -> float | None:
        if self.delays() and not self._queue.full():
            return self.since + self._policy.max_queue_delay
        return self.line.close_at(now)

    def wake(self, now: float) -> None:
        """Have the next batch closed in time."""
        if self.waking is not None:
            self.waking.cancel()
        at = self._close_at(now)
        if at is None:
            self.waking = None
        elif at > now + TICK:
            self.waking = self._loop.call_at(at, self._close)
        else:
            self.waking = self._loop.call_soon(self._close)

    def _close(self) -> None:
        batches = self._counters.batches
        self._hand_over(self._loop.time())
        self._on_quiet()
        if self._counters.batches > batches:
            self._offer()

    def _hand_over(self, now: float) -> None:
        """Close what is due, and see to what is due later."""
        if self.waking is not None:
            self.waking.cancel()
            self.waking = None
        while self._queue.rows and (at := self._close_at(now)) is not None and at <= now + TICK:
            self._take(now)
        if self._queue.rows:
            self.wake(now)

    def _take(self, now: float) -> None:
        """Close one batch."""
        asks = not self.line.busy and self._hopeless >= _PROBE
        taken = self._queue.take(Start(self.line.start(now), ServiceTimes() if asks else self._times))
        if taken.batch:
            self._hopeless = 0
            self._launch(taken.batch, now)
        elif not self.line.busy:
            self._hopeless += 1
        self._refuse_late(taken.late)

    def _launch(self, batch: Sequence[Job], now: float) -> None:
        rows = sum(job.rows for job in batch)
        self._counters.batches += 1
        self._counters.closed_ahead += self.line.busy
        self.line.begin(now, self._times.predict(rows))
        self.running.append(batch)
        self.running_rows += rows
        for job in batch:
            job.begin(now, rows)
        self._executor.launch(batch, partial(self._finished, batch, rows))

    def _refuse_late(self, late: Sequence[Job]) -> None:
        self._counters.failures += len(late)
        for job in late:
            self._executor.free(job)
            settle(job, ExpiredInQueue("the answer would come after the deadline; the request was not run"))

    def _finished(self, batch: Sequence[Job], rows: int, finished: Finished) -> None:
        """A batch came back: first the next one, then the callers."""
        now = self._loop.time()
        self.running.popleft()
        self.running_rows -= rows
        self.line.end(now)
        self._learn(batch, rows, finished)
        self._hand_over(now)
        for job, outcome in zip(batch, finished.outcomes, strict=True):
            job.compute_s = finished.seconds
            settle(job, outcome)
        self._on_quiet()
        self._offer()

    def _learn(self, batch: Sequence[Job], rows: int, finished: Finished) -> None:
        counters = self._counters
        counters.elements += finished.elements
        counters.padded += finished.padded
        failed = [
            job.rows
            for job, outcome in zip(batch, finished.outcomes, strict=True)
            if isinstance(outcome, PenstockError)
        ]
        counters.failures += len(failed)
        counters.rows += rows - sum(failed)
        if failed:
            return  # it was run in parts: that says nothing of the next one
        self._times.note(rows, finished.seconds if finished.device_s is None else finished.device_s)

    def _offer(self) -> None:
        """Say that rows could be granted, and say it again shortly before the device is free."""
        if self._offering is not None:
            self._offering.cancel()
            self._offering = None
        now = self._loop.time()
        at = self.line.grant_at(now, self._times.predict(self._policy.max_batch_size))
        if at > now + TICK:
            self._offering = self._loop.call_at(at, self._offer)
        if self.on_room is not None:
            self.on_room()


def settle(job: Job, outcome: Outcome) -> None:
    """Whoever is told may fail; its batch mates are told all the same."""
    try:
        job.settle(outcome)
    except Exception:
        log.exception("an answer could not be passed on")
