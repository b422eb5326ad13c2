"""The batching engine: takes jobs from many callers, hands batches to the device when it is about to be free.

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

from ...errors import ExpiredInQueue, PenstockError, WorkerDraining, WorkerLost
from ..job import Job, Outcome
from .admission import refusal
from .closing import TICK, Start, Timeline
from .executor import Executor, Finished
from .load import Counters, Load
from .policy import BatchPolicy
from .queue import BatchQueue
from .service_time import ServiceTimes
from .split import split
from .waiting import Joiner

_PROBE = 16
"""After so many batches in a row that an idle device could not answer in time, it is asked all the same: an estimate
that only refuses would never be put right."""

log = logging.getLogger("penstock.worker")


class Engine:
    """Owned by the event loop.

    Args:
        executor: runs the batches.
        policy: how requests are joined.
        times: what is known of the model; kept fresh from here on.
        join: which of the waiting requests make a batch; None: the soonest.
    """

    def __init__(
        self, executor: Executor, policy: BatchPolicy, times: ServiceTimes, join: Joiner[Job] | None = None
    ) -> None:
        self.policy = policy
        self.counters = Counters()
        self.on_room: Callable[[], None] | None = None
        """Called when rows could be granted: a batch was handed over or came back, or the device is about to be free.
        Never from within `submit`."""
        self._loop = asyncio.get_running_loop()
        self._executor, self._times = executor, times
        self._queue: BatchQueue[Job] = BatchQueue(policy.max_batch_size, join)
        self._line = Timeline(asynchronous=executor.asynchronous)
        self._running: deque[Sequence[Job]] = deque()
        self._running_rows = 0
        self._waking: asyncio.Handle | None = None
        self._offering: asyncio.TimerHandle | None = None
        self._since = 0.0
        """When the oldest of what waits arrived, or earlier."""
        self._hopeless = 0
        self._draining = False
        self._quiet: list[asyncio.Future[None]] = []

    @property
    def queued_rows(self) -> int:
        """Rows that wait."""
        return self._queue.rows

    @property
    def running_rows(self) -> int:
        """Rows that were handed to the device."""
        return self._running_rows

    @property
    def failures(self) -> int:
        """Jobs that were refused, were too late, or failed."""
        return self.counters.failures

    def submit(self, job: Job) -> None:
        """Queue a job. Its rows are copied at once if there is room for them: then its `inputs` are gone.

        Those that come before the event loop's next turn can be in one batch, also on an idle device.

        Raises:
            QueueFull: as many rows wait as may wait.
            MemoryPressure: as many bytes wait as may wait.
            ExpiredInQueue: its deadline has passed.
            PredictedLate: what is ahead of it takes longer than it has time.
            WorkerDraining: this worker is about to end.
            BatchTooLarge: it is answered many times and has more rows than any batch. (Others are cut and joined.)
        """
        now = self._loop.time()
        refused = self._refusal(job, now)
        if refused is not None:
            self.counters.failures += 1
            raise refused
        if not self._queue.rows:
            self._since = now
        most = self.policy.max_batch_size
        for one in (job,) if job.rows <= most else split(job, most, self.cancel):
            self._queue.add(one)
            self._executor.write(one)
        if self._waking is None or (self._delays() and self._queue.full()):
            self._wake(now)

    def cancel(self, job: Job) -> None:
        """Nobody waits any longer: it is not run, or its outcome is not told. At no cost, and as often as one likes."""
        for one in (job, *job.pieces):
            one.abandoned = True
            one.on_settled = None
            if self._queue.remove(one):
                self._executor.free(one)
        self._note_quiet()

    def load(self) -> Load:
        """How busy this worker is now."""
        now, times = self._loop.time(), self._times
        full = times.predict(self.policy.max_batch_size)
        return Load(self._line.start(now) - now, times.predict(1), full, self._queue.rows)

    def room(self, now: float) -> int:
        """How many rows to have on their way here and waiting, less those that wait.

        What was granted and has not arrived yet is not subtracted: who grants knows it.
        """
        most = self.policy.max_batch_size
        return self._line.room(now, self._times.predict(most), most, self._queue.rows, self._running_rows)

    def refuse_new(self) -> None:
        """From now on only what is queued is served."""
        self._draining = True
        self._wake(self._loop.time())  # ends a delay: nothing can come that it would be worth waiting for

    async def drained(self) -> None:
        """Wait until nothing waits and nothing runs."""
        if self._queue.rows or self._running:
            quiet = self._loop.create_future()
            self._quiet.append(quiet)
            await quiet

    def give_up(self) -> None:
        """Answer what waits and what runs with errors after which a gateway asks another worker."""
        for job in self._queue.take_all():
            self._executor.free(job)
            _settle(job, WorkerDraining("this worker ends before it could run the request; another one answers"))
        for batch in self._running:
            for job in batch:
                _settle(job, WorkerLost("this worker ends before the model has answered"))
        self._note_quiet()

    def _refusal(self, job: Job, now: float) -> PenstockError | None:
        if self._draining:
            return WorkerDraining("this worker is about to end; another one answers")
        return refusal(job, now, self.policy, self._queue, self._line, self._times)

    def _delays(self) -> bool:
        """An idle device waits for more rows."""
        return bool(self.policy.max_queue_delay) and not self._line.busy and not self._draining

    def _close_at(self, now: float) -> float | None:
        if self._delays() and not self._queue.full():
            return self._since + self.policy.max_queue_delay
        return self._line.close_at(now)

    def _wake(self, now: float) -> None:
        """Have the next batch closed in time."""
        if self._waking is not None:
            self._waking.cancel()
        at = self._close_at(now)
        if at is None:
            self._waking = None
        elif at > now + TICK:
            self._waking = self._loop.call_at(at, self._close)
        else:
            self._waking = self._loop.call_soon(self._close)

    def _close(self) -> None:
        batches = self.counters.batches
        self._hand_over(self._loop.time())
        self._note_quiet()
        if self.counters.batches > batches:
            self._offer()

    def _hand_over(self, now: float) -> None:
        """Close what is due, and see to what is due later."""
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        while self._queue.rows and (at := self._close_at(now)) is not None and at <= now + TICK:
            self._take(now)
        if self._queue.rows:
            self._wake(now)

    def _take(self, now: float) -> None:
        """Close one batch."""
        asks = not self._line.busy and self._hopeless >= _PROBE
        taken = self._queue.take(Start(self._line.start(now), ServiceTimes() if asks else self._times))
        if taken.batch:
            self._hopeless = 0
            self._launch(taken.batch, now)
        elif not self._line.busy:
            self._hopeless += 1
        self._refuse_late(taken.late)

    def _launch(self, batch: Sequence[Job], now: float) -> None:
        rows = sum(job.rows for job in batch)
        self.counters.batches += 1
        self.counters.closed_ahead += self._line.busy
        self._line.begin(now, self._times.predict(rows))
        self._running.append(batch)
        self._running_rows += rows
        for job in batch:
            job.begin(now, rows)
        self._executor.launch(batch, partial(self._finished, batch, rows))

    def _refuse_late(self, late: Sequence[Job]) -> None:
        self.counters.failures += len(late)
        for job in late:
            self._executor.free(job)
            _settle(job, ExpiredInQueue("the answer would come after the deadline; the request was not run"))

    def _finished(self, batch: Sequence[Job], rows: int, finished: Finished) -> None:
        """A batch came back: first the next one, then the callers."""
        now = self._loop.time()
        self._running.popleft()
        self._running_rows -= rows
        self._line.end(now)
        self._learn(batch, rows, finished)
        self._hand_over(now)
        for job, outcome in zip(batch, finished.outcomes, strict=True):
            job.compute_s = finished.seconds
            _settle(job, outcome)
        self._note_quiet()
        self._offer()

    def _learn(self, batch: Sequence[Job], rows: int, finished: Finished) -> None:
        counters = self.counters
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
        at = self._line.grant_at(now, self._times.predict(self.policy.max_batch_size))
        if at > now + TICK:
            self._offering = self._loop.call_at(at, self._offer)
        if self.on_room is not None:
            self.on_room()

    def _note_quiet(self) -> None:
        if self._quiet and not self._queue.rows and not self._running:
            for quiet in self._quiet:
                if not quiet.done():
                    quiet.set_result(None)
            self._quiet.clear()


def _settle(job: Job, outcome: Outcome) -> None:
    """Whoever is told may fail; its batch mates are told all the same."""
    try:
        job.settle(outcome)
    except Exception:
        log.exception("an answer could not be passed on")
