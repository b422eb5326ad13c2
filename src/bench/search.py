"""The greatest rate that a server holds: bisection, as a decision that does not run anything."""

from __future__ import annotations

from dataclasses import dataclass, field

from .statistics import Summary

HELD = 0.99
"""A rate is held if at least this share of the requests is answered right within the limit."""


def held(summary: Summary) -> bool:
    """Whether a run held its rate. Refused, failed and late are all the same; a void run held nothing."""
    return not summary.void and summary.on_time is not None and summary.on_time >= HELD


@dataclass(slots=True)
class Bisection:
    """Halves the interval between a rate that was held and one that was not.

    Args:
        low: a rate thought to be held; it is not tried.
        high: a rate thought not to be held; it is not tried.
        tolerance: how close the two must come.
    """

    low: float
    high: float
    tolerance: float
    best: float = field(default=0.0, init=False)
    """The greatest rate that was held when it was tried; 0: none was."""

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high or self.tolerance <= 0:
            raise ValueError(f"no interval to search: {self.low} to {self.high} by {self.tolerance}")

    def next(self) -> float | None:
        """The rate to try next; None: the answer is `best`."""
        return None if self.high - self.low <= self.tolerance else (self.low + self.high) / 2

    def note(self, rate: float, was_held: bool) -> None:
        """Say how a try went."""
        if was_held:
            self.low = rate
            self.best = max(self.best, rate)
        else:
            self.high = rate
