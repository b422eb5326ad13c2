"""How a worker computes what a model answers: what it may be asked for, and what it found. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

PLAIN = "plain"
"""The candidate that is what was published."""


class Optimization(IntEnum):
    """What a publisher may ask for. Numbers are those of penstock.v1.Optimization."""

    NONE = 1
    COMPILE = 2
    AOT = 3
    AUTO = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute, as it was tried."""

    name: str
    """`plain`, `compile` or `aot`."""
    seconds: Mapping[int, float] = field(default_factory=dict)
    """By rows: how long a batch takes. Empty: not measured."""
    problem: str = ""
    """Why it cannot be used, for a person; empty: it can."""


@dataclass(frozen=True, slots=True)
class Optimized:
    """What a worker found."""

    chosen: str
    """The name of the candidate that computes."""
    candidates: tuple[Candidate, ...]
    """All that were tried, `plain` first."""

    def gain(self) -> float:
        """How many times as fast as `plain` a batch of the most rows is; 0: not known."""
        tables = {candidate.name: candidate.seconds for candidate in self.candidates}
        plain, chosen = tables.get(PLAIN, {}), tables.get(self.chosen, {})
        most = max(plain.keys() & chosen.keys(), default=0)
        return plain[most] / chosen[most] if most and chosen[most] > 0 else 0.0
