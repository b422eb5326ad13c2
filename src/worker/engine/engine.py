"""The batching engine: takes jobs from many callers, sees to it that each gets its outcome, and says how busy it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...errors import PenstockError, WorkerDraining, WorkerLost
from ..job import Job
from .admission import refusal
from .batches import Batches, settle
from .executor import Executor
from .load import Counters, Load
from .policy import BatchPolicy
from .queue import BatchQueue
from .service_time import ServiceTimes
from .split import split
from .waiting import Joiner


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
        self._loop = asyncio.get_running_loop()
        self._executor, self._times = executor, times
        self._queue: BatchQueue[Job] = BatchQueue(policy.max_batch_size, join)
        self._batches = Batches(self._queue, executor, policy, times, self.counters, self._note_quiet)
        self._draining = False
        self._quiet: list[asyncio.Future[None]] = []

    @property
    def on_room(self) -> Callable[[], None] | None:
        """Called when rows could be granted: a batch was handed over or came back, or the device is about to be free.

        Never from within `submit`.
        """
        return self._batches.on_room

    @on_room.setter
    def on_room(self, told: Callable[[], None] | None) -> None:
        self._batches.on_room = told

    @property
    def queued_rows(self) -> int:
        """Rows that wait."""
        return self._queue.rows

    @property
    def running_rows(self) -> int:
        """Rows that were handed to the device."""
        return self._batches.running_rows

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
            self._batches.since = now
        most = self.policy.max_batch_size
        for one in (job,) if job.rows <= most else split(job, most, self.cancel):
            self._queue.add(one)
            self._executor.write(one)
        if self._batches.waking is None or (self._batches.delays() and self._queue.full()):
            self._batches.wake(now)

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
        return Load(self._batches.line.busy_for(now), times.predict(1), full, self._queue.rows)

    def room(self, now: float) -> int:
        """How many rows to have on their way here and waiting, less those that wait.

        What was granted and has not arrived yet is not subtracted: who grants knows it.
        """
        most = self.policy.max_batch_size
        return self._batches.line.room(
            now, self._times.predict(most), most, self._queue.rows, self._batches.running_rows
        )

    def refuse_new(self) -> None:
        """From now on only what is queued is served."""
        self._draining = self._batches.hurries = True
        self._batches.wake(self._loop.time())  # ends a delay: nothing can come that it would be worth waiting for

    async def drained(self) -> None:
        """Wait until nothing waits and nothing runs."""
        if self._queue.rows or self._batches.running:
            quiet = self._loop.create_future()
            self._quiet.append(quiet)
            await quiet

    def give_up(self) -> None:
        """Answer what waits and what runs with errors after which a gateway asks another worker."""
        for job in self._queue.take_all():
            self._executor.free(job)
            settle(job, WorkerDraining("this worker ends before it could run the request; another one answers"))
        for batch in self._batches.running:
            for job in batch:
                settle(job, WorkerLost("this worker ends before the model has answered"))
        self._note_quiet()

    def _refusal(self, job: Job, now: float) -> PenstockError | None:
        if self._draining:
            return WorkerDraining("this worker is about to end; another one answers")
        return refusal(job, now, self.policy, self._queue, self._batches.line, self._times)

    def _note_quiet(self) -> None:
        if self._quiet and not self._queue.rows and not self._batches.running:
            for quiet in self._quiet:
                if not quiet.done():
                    quiet.set_result(None)
            self._quiet.clear()
