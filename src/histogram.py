"""Many positive numbers in little room: counts in buckets whose bounds grow by an eighth of a doubling. Decisions only.

A quantile is then right within 4.5 %, whatever the numbers are, and two histograms add up to that of both's numbers.
(DDSketch: Masson, Rim and Lee, "A fast and fully-mergeable quantile sketch", VLDB 2019.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, isnan, log2

PER_DOUBLING = 8
ZERO = -1000
"""The bucket of numbers that are 0."""
_FIRST, _LAST = -40 * PER_DOUBLING, 40 * PER_DOUBLING
"""Numbers beyond a millionth of a millionth and a million millions are counted as such."""


def bucket_of(value: float) -> int:
    """Where a number that is not negative is counted; what is none, as NaN, counts as the greatest."""
    if value <= 0.0:
        return ZERO
    if isnan(value) or value == float("inf"):
        return _LAST
    return min(max(ceil(PER_DOUBLING * log2(value)), _FIRST), _LAST)


def upper_bound(bucket: int) -> float:
    """The greatest number that is counted there."""
    return 0.0 if bucket == ZERO else 2.0 ** (bucket / PER_DOUBLING)


def middle(bucket: int) -> float:
    """What stands for the numbers that are counted there."""
    return 0.0 if bucket == ZERO else 2.0 ** ((bucket - 0.5) / PER_DOUBLING)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many numbers are in each bucket. It does not change; `plus` makes another."""

    counts: Mapping[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many numbers."""
        return sum(self.counts.values())

    def plus(self, other: Histogram) -> Histogram:
        """That of the numbers of both."""
        if not other.counts:
            return self
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return Histogram(counts)

    def quantile(self, share: float) -> float:
        """The number below which this share of all numbers is; 0 where there are none."""
        missing = share * self.total
        found = ZERO
        for bucket in sorted(self.counts):
            found = bucket
            missing -= self.counts[bucket]
            if missing <= 0:
                break
        return middle(found)


def bounded(bucket: int) -> int:
    """A bucket's number that came from elsewhere, as one that is known here."""
    return ZERO if bucket <= ZERO else min(max(bucket, _FIRST), _LAST)
