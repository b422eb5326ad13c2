"""What the gateway believes of a worker, and when a worker should be given what waits. Decisions only.

A request is bound to a worker as late as possible: when that worker is idle or about to be free. Until then it waits in
the lane, where it can still go to whoever is free first. The rules and their figures were simulated
(reference/performance.md, "Load balancing" and "How long should an idle worker of a shared queue wait?").
"""

from __future__ import annotations

from math import inf

from ..lanes import RETURN_ALLOWANCE

_SHORT = 0.005
"""Seconds: workers whose full batch takes less than this are kept supplied; being late would cost more."""
_LEAST_LEAD, _LEAD_SHARE = 0.005, 0.15
"""How long before it is free a worker may be given its next batch: in seconds, or as a share of a full batch."""
_CLOSE_LEAD = 0.002
"""Seconds before it is free at which a worker closes its next batch: what comes later is in the one after that."""
_ON_THE_WAY = 0.0005
"""Seconds between sending rows and hearing of the worker that it has them, at least."""
_MARGIN = RETURN_ALLOWANCE
"""Seconds for the way back to the caller."""
_MOST_LAG, _WEIGHT = 0.005, 0.1
"""Seconds that one batch can say the lag to be at most, and how much it counts."""
_DOUBT = 0.5
"""Of a full batch: so much too late a request must be before it is refused at once."""
_TOGETHER = 0.0001
"""Seconds between rows that leave in one message."""


class Forecast:
    """One worker: what it may be sent, and when it will be free. Its reports correct what is reckoned in between."""

    __slots__ = (
        "_begun",
        "_first_at",
        "_first_rows",
        "_lag",
        "_lag_spread",
        "_running",
        "_sent_at",
        "_sent_rows",
        "batch",
        "credit",
        "first",
        "forming",
        "free_at",
        "full",
        "lead",
        "one",
        "tightest",
    )

    def __init__(self) -> None:
        self.credit = 0
        """Rows that it may be sent. Below zero after a request of many rows."""
        self.batch = 1
        """The most rows that it runs together."""
        self.one = 0.0
        self.full = 0.0
        """Seconds for one row and for a full batch; 0: not known."""
        self.lead = _LEAST_LEAD
        self.free_at = -inf
        """When what it runs will be done."""
        self.forming = 0
        """Rows that it runs after that."""
        self.tightest = inf
        """The soonest deadline among them."""
        self.first = 0
        """The question whose answer tells the lag; 0: none."""
        self._first_at = 0.0
        self._first_rows = 0
        self._lag = 0.0
        self._lag_spread = 0.0
        self._begun = -inf
        self._running = 0
        self._sent_at = -inf
        self._sent_rows = 0

    @property
    def lag(self) -> float:
        """Seconds that an idle worker takes longer than its device: the way there, its own work, the way back.

        Learned from what was sent to it while it was idle; mean and mean deviation, as TCP does (RFC 6298).
        """
        return self._lag + self._lag_spread

    @property
    def _round_trip(self) -> float:
        """Seconds after sending rows in which what it says does not know of them."""
        return max(_ON_THE_WAY, self._lag)

    def service(self, rows: int) -> float:
        """Seconds that it takes for so many rows."""
        if rows >= self.batch:
            return self.full * -(-rows // self.batch)
        return self.one + (self.full - self.one) * (rows - 1) / (self.batch - 1)

    def sent(self, rows: int, deadline: float, now: float, question: int = 0) -> None:
        """Rows have been sent to it. Those that leave together begin together. See `answered` for `question`."""
        self.credit -= rows
        if now - self._sent_at > self._round_trip:
            self._sent_at, self._sent_rows = now, 0
        self._sent_rows += rows
        self.advance(now)
        if self.free_at <= now:
            self._begun, self._running = now, rows
            self.first, self._first_at, self._first_rows = question, now, rows
            self.free_at = now + self.lag + self.service(rows)
        elif now - self._begun < _TOGETHER and self._running + rows <= self.batch:
            self._running += rows
            self._first_rows = self._running
            self.free_at = self._begun + self.lag + self.service(self._running)
        else:
            self.forming += rows
            self.tightest = min(self.tightest, deadline)

    def answered(self, now: float) -> None:
        """The question `first` has its answer. It met an idle worker: what is longer than the batch itself is lag."""
        self.first = 0
        if self.full > 0.0:
            seen = min(max(now - self._first_at - self.service(self._first_rows), 0.0), _MOST_LAG)
            self._lag_spread += _WEIGHT * (abs(seen - self._lag) - self._lag_spread)
            self._lag += _WEIGHT * (seen - self._lag)

    def reported(self, now: float, free: float, one: float, full: float, waiting: int) -> None:
        """It said when it will be free (in seconds from now), how fast it is, and how many rows wait in it."""
        self.one, self.full = one, full
        self.lead = max(_LEAST_LEAD, _LEAD_SHARE * full)
        unseen = self._sent_rows if now - self._sent_at < self._round_trip else 0
        if free <= 0.0 and unseen and not waiting:
            self._begun, self._running = now, unseen
            self.free_at, self.forming = now + self.lag + self.service(unseen), 0
        else:
            self._begun, self._running = -inf, 0
            self.free_at, self.forming = now + free, waiting + unseen
        if not self.forming:
            self.tightest = inf

    def advance(self, now: float) -> None:
        """Let time pass: when a batch is done, the one that forms begins."""
        while self.forming and self.free_at <= now:
            self._begun, self._running = self.free_at, min(self.forming, self.batch)
            self.forming -= self._running
            self.tightest = inf
            seconds = self.service(self._running)
            if seconds <= 0.0:
                self.forming = 0  # it has not said how fast it is
            self.free_at += seconds

    def completion(self, rows: int, now: float) -> float:
        """When rows that are sent now will be done. Whoever sends them has let time pass."""
        return self.begins(now) + self.service(self.forming + rows)

    def begins(self, now: float) -> float:
        """From when on to count what rows take that are sent now."""
        return self.free_at if self.free_at > now else now + self.lag

    @property
    def opens_at(self) -> float:
        """When it may be given rows, its credit aside: now and always for workers whose speed is small or unknown."""
        return -inf if self.full <= _SHORT else self.free_at - self.lead

    def is_closed(self, now: float) -> bool:
        """Whether nothing more should join the batch that forms there. One kept supplied may have several batches."""
        if self.is_short or not self.forming:
            return False
        return self.forming >= self.batch or now > self.free_at - _CLOSE_LEAD or self.is_tight

    @property
    def is_tight(self) -> bool:
        """Whether rows of the batch that forms there would be late if it took one row longer."""
        return is_late(self.free_at + self.service(self.forming + 1), self.tightest)

    @property
    def is_short(self) -> bool:
        """Whether it is kept supplied."""
        return self.full <= _SHORT


def idle_wait(full: float, workers: int, idle: int) -> float:
    """Seconds that an idle worker leaves the oldest request waiting, so that a batch gathers.

    Nothing when all are idle (there is no load), a worker's share of a full batch when it is the last one that is idle,
    and evenly between. A worker that is alone never waits.

    Args:
        full: seconds of a full batch, and what an idle worker takes longer.
        workers: how many there are.
        idle: how many of them have nothing to do, at least 1.
    """
    if workers < 2:
        return 0.0
    return full / workers * (1.0 - (max(idle, 1) - 1) / (workers - 1))


def starts_at(now: float, arrived: float, deadline: float, wait: float, seconds: float) -> float:
    """When an idle worker should begin with what waits: after the wait, but not so late that the oldest is too late."""
    return max(now, min(arrived + wait, deadline - seconds - 2 * _MARGIN))


def is_late(done: float, deadline: float) -> bool:
    """Whether what is done then comes too late to the caller."""
    return done + _MARGIN > deadline


def predicted(now: float, next_free: float, ahead: int, rows: int, of: Forecast, workers: int) -> float:
    """When a request that arrives now will be done, if nobody overtakes it.

    Args:
        now: the time.
        next_free: when the next worker will be free.
        ahead: rows that are served before it.
        rows: its own.
        of: a worker that stands for all.
        workers: how many there are; they become free one after the other.
    """
    before = (ahead + rows - 1) // of.batch
    own = of.full if before else of.service(min(ahead + rows, of.batch))
    return max(now, next_free) + before * of.full / max(workers, 1) + max(own, of.one)


def is_hopeless(done: float, deadline: float, full: float) -> bool:
    """Whether to refuse what is predicted to be done then. In doubt it waits: those before it may be late or leave."""
    return done - _DOUBT * full > deadline
