"""Which way to compute a model is taken, from what each was measured to take. Decisions only."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

from ..optimization import PLAIN, Candidate, Optimization

_WORTH_IT = 1.05
"""Times as fast as plain: what gains less than it may be measured wrongly is not worth being something else."""
_SLOWER = 1.05
"""Times as long as plain that the greatest batch may take: it decides how much a worker can do at most."""


def names(wanted: Optimization, there: Sequence[str]) -> list[str]:
    """Which candidates are to be tried beside `plain`; `there` are those that the model's format has."""
    if wanted is Optimization.AUTO:
        return list(there)
    return [] if wanted is Optimization.NONE else [wanted.name.lower()]


def sizes(most: int) -> list[int]:
    """The batches that are measured: what a lone caller gets, what is common, and what is at most possible."""
    return sorted({1, max(most // 4, 1), most})


def choose(wanted: Optimization, candidates: Sequence[Candidate]) -> str:
    """The name of the candidate that computes from now on.

    Args:
        wanted: one that was asked for by name is taken if it can be used, however fast it is; AUTO: the fastest, which
            is the greatest mean gain over all sizes; of equals the first.
        candidates: `plain` first.
    """
    plain, *others = candidates
    usable = [other for other in others if not other.problem]
    if wanted is not Optimization.AUTO:
        return usable[0].name if usable else PLAIN
    gains = {other.name: _gain(plain, other) for other in usable}
    best = max(gains, key=gains.__getitem__, default=PLAIN)
    return best if gains.get(best, 0.0) >= _WORTH_IT else PLAIN


def _gain(plain: Candidate, other: Candidate) -> float:
    """The geometric mean of how many times as fast it is; 0: it is not to be taken."""
    common = plain.seconds.keys() & other.seconds.keys()
    if not common or min(min(plain.seconds[rows], other.seconds[rows]) for rows in common) <= 0:
        return 0.0
    most = max(common)
    if other.seconds[most] > plain.seconds[most] * _SLOWER:
        return 0.0
    return exp(sum(log(plain.seconds[rows] / other.seconds[rows]) for rows in common) / len(common))
