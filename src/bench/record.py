"""The book that a generator keeps while it runs: what was due when, when it was sent, what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import process_time

from .plan import Plan
from .processes import cpu_seconds
from .samples import OK, Samples

UNANSWERED = "UNANSWERED"


class Record:
    """Owned by one event loop. Times are seconds since `start`.

    Args:
        plan: what is run.
        clock: seconds, as the event loop counts them.
    """

    def __init__(self, plan: Plan, clock: Callable[[], float]) -> None:
        self.plan = plan
        self.on_settled: Callable[[int], None] | None = None
        """Told how many requests have just got their outcome."""
        self._clock = clock
        self._origin = clock()
        self._due: list[float] = []
        self._late: list[float] = []
        self._took: list[float] = []
        self._kinds: list[int] = []
        self._names: dict[str, int] = {OK: 0}
        self._open = 0
        self._quiet = asyncio.Event()
        self._client_cpu_s = 0.0
        self._cpu_s: dict[int, float] = {}

    def start(self) -> None:
        """Time begins."""
        self._origin = self._clock()

    def now(self) -> float:
        """Seconds since `start`."""
        return self._clock() - self._origin

    def send(self, due: Sequence[float]) -> range:
        """Note requests that are sent now; returns their numbers."""
        now = self.now()
        first = len(self._due)
        self._due.extend(due)
        self._late.extend(now - time for time in due)
        self._took.extend(-1.0 for _ in due)
        self._kinds.extend(0 for _ in due)
        self._open += len(due)
        self._quiet.clear()
        return range(first, len(self._due))

    def left(self, index: int) -> float:
        """Seconds until the deadline of a request that is sent now; at least a millisecond."""
        return max(self.plan.deadline - self._late[index], 0.001)

    def settle(self, indexes: Sequence[int], kind: str = OK) -> None:
        """Note the outcome of requests, once each; a second one is ignored."""
        now = self.now()
        number = self._names.setdefault(kind, len(self._names))
        fresh = [index for index in indexes if self._took[index] < 0]
        for index in fresh:
            self._took[index] = now - self._due[index]
            self._kinds[index] = number
        self._open -= len(fresh)
        if fresh and self.on_settled is not None:
            self.on_settled(len(fresh))
        if not self._open:
            self._quiet.set()

    async def watch(self) -> None:
        """Measure CPU time over the measured seconds."""
        await asyncio.sleep(self.plan.warmup - self.now())
        client, servers = process_time(), {pid: cpu_seconds(pid) for pid in self.plan.watched}
        await asyncio.sleep(self.plan.warmup + self.plan.duration - self.now())
        self._client_cpu_s = process_time() - client
        self._cpu_s = {pid: cpu_seconds(pid) - before for pid, before in servers.items()}

    async def finish(self, patience: float) -> None:
        """Wait for what is still open, so many seconds; what is left then counts as unanswered."""
        self.on_settled = None
        if self._open:
            try:
                async with asyncio.timeout(patience):
                    await self._quiet.wait()
            except TimeoutError:
                self.settle([index for index, took in enumerate(self._took) if took < 0], UNANSWERED)

    def samples(self) -> Samples:
        """Everything, once `finish` is over."""
        begin, end = self.plan.warmup, self.plan.warmup + self.plan.duration
        columns = (self._due, self._late, self._took, self._kinds)
        return Samples(begin, end, *columns, list(self._names), self._client_cpu_s, self._cpu_s)
