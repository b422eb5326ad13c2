"""What counts say for sure, however often they are looked at. Decisions only.

A test made for one look finds a difference where there is none if it is repeated each second: sooner or later chance
brings one about. What is used here holds for all looks together. For requests of which each fails with probability p,

    M = ∫ q^k (1 - q)^(n - k) dBeta(½, ½)(q) / (p^k (1 - p)^(n - k))        after n requests with k failures

is a martingale that starts at 1, so that the chance of its ever reaching 1/alpha is at most alpha (Ville 1939). Those p
for which it has not are a confidence sequence: Robbins, "Statistical methods related to the law of the iterated
logarithm" (1970); Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
sequences" (Annals of Statistics, 2021); as the mixture sequential probability ratio test it judges A/B tests: Johari,
Koomen, Pekelis and Walsh, "Always valid inference" (Operations Research, 2022). Of two versions the product of both is
such a martingale, too; its logarithm is convex in both probabilities, so that if what was seen lies beyond a bound on
their difference, no pair within the bound is less excluded than the best one at it.
Quantiles: the same for "at most x", by Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B
testing" (Bernoulli, 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, lgamma, log, pi

from ..histogram import Histogram, upper_bound

_STEPS, _SHOWN_STEPS = 40, 20
"""Halvings when a root is looked for: to a millionth of a millionth; and of bounds that are only shown, a millionth."""
_LOG_PI = log(pi)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of how many."""

    total: int
    hits: int

    @property
    def share(self) -> float:
        """Hits among all; 0 where there are none."""
        return self.hits / self.total if self.total else 0.0


def log_martingale(counts: Counts, share: float) -> float:
    """The evidence against this being the true share, as a logarithm: above log(1/alpha) it is not."""
    hits, misses = counts.hits, counts.total - counts.hits
    if (hits and share <= 0.0) or (misses and share >= 1.0):
        return inf
    mixture = lgamma(hits + 0.5) + lgamma(misses + 0.5) - lgamma(counts.total + 1.0) - _LOG_PI
    return mixture - (hits * log(share) if hits else 0.0) - (misses * log(1.0 - share) if misses else 0.0)


def interval(counts: Counts, alpha: float) -> tuple[float, float]:
    """Between which bounds the true share is, at all times with probability 1 - alpha."""
    limit, share = log(1.0 / alpha), counts.share
    low = _boundary(lambda p: log_martingale(counts, p) >= limit, 0.0, share) if counts.hits else 0.0
    high = _boundary(lambda p: log_martingale(counts, p) >= limit, 1.0, share) if counts.hits < counts.total else 1.0
    return low, high


def evidence_above(baseline: Counts, other: Counts, bound: float) -> float:
    """The evidence, as a logarithm, that the other's share is more than `bound` greater; 0: none."""
    return max(_joint(baseline, other, bound), 0.0) if other.share - baseline.share > bound else 0.0


def evidence_below(baseline: Counts, other: Counts, bound: float) -> float:
    """The evidence, as a logarithm, that the other's share is less than `bound` greater; 0: none."""
    return max(_joint(baseline, other, bound), 0.0) if other.share - baseline.share < bound else 0.0


def increase(baseline: Counts, other: Counts, alpha: float) -> tuple[float, float]:
    """Between which bounds the other's share is greater, at all times with probability 1 - alpha."""
    limit, found = log(1.0 / alpha), other.share - baseline.share
    excluded = lambda difference: _joint(baseline, other, difference) >= limit  # noqa: E731
    return _boundary(excluded, -1.0, found), _boundary(excluded, 1.0, found)


def _joint(baseline: Counts, other: Counts, difference: float) -> float:
    """The evidence against every pair of shares with this difference: that against the pair which fits best."""
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
    begin, end = low, high
    for _ in range(_STEPS):
        share = (begin + end) / 2
        if _slope(baseline, share) + _slope(other, share + difference) > 0.0:
            end = share
        else:
            begin = share
    share = (begin + end) / 2
    inside = log_martingale(baseline, share) + log_martingale(other, min(max(share + difference, 0.0), 1.0))
    # Without a failure the best pair is at the edge, which halving only comes near to.
    edges = [log_martingale(baseline, p) + log_martingale(other, p + difference) for p in (low, high)]
    return min(inside, *edges)


def _slope(counts: Counts, share: float) -> float:
    """Of log_martingale, which is convex in the share."""
    hits, misses = counts.hits, counts.total - counts.hits
    up = misses / (1.0 - share) if share < 1.0 else (inf if misses else 0.0)
    down = hits / share if share > 0.0 else (inf if hits else 0.0)
    return up - down if up < inf or down < inf else 0.0


def _boundary(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where what is excluded ends, on the way from outside to inside."""
    if not excluded(outside):
        return outside
    for _ in range(_SHOWN_STEPS):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return inside


def quantile_at_least(histogram: Histogram, share: float, alpha: float) -> float:
    """The quantile is surely above this; 0: nothing is sure."""
    limit, total, below, found = log(1.0 / alpha), histogram.total, 0, 0.0
    for bucket in sorted(histogram.counts):
        below += histogram.counts[bucket]
        counts = Counts(total, below)
        if counts.share >= share or log_martingale(counts, share) < limit:
            break
        found = upper_bound(bucket)
    return found


def quantile_at_most(histogram: Histogram, share: float, alpha: float) -> float:
    """The quantile is surely no more than this; infinite: nothing is sure."""
    limit, total, below = log(1.0 / alpha), histogram.total, 0
    for bucket in sorted(histogram.counts):
        below += histogram.counts[bucket]
        counts = Counts(total, below)
        if counts.share > share and log_martingale(counts, share) >= limit:
            return upper_bound(bucket)
    return inf
