"""What versions did of the traffic of aliases that have a split, a shadow or a canary, counted. Decisions only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto

from ..errors import Cancelled, InvalidArgument, NotFound, ServableIsGenerator
from ..histogram import bucket_of
from .splitting import Rules

_PATIENCE = 0.9
"""Of its time, how much a request has had whose caller went because it was over: a caller's clock is ahead of ours."""


class Outcome(Enum):
    """How a request ended, as far as its version is concerned."""

    ANSWERED = auto()
    FAILED = auto()
    """For a reason that is not the caller's."""
    REFUSED = auto()
    """Because of what the caller sent."""
    CANCELLED = auto()
    """Its caller went; it says nothing of the version."""


def outcome_of(error: BaseException) -> Outcome:
    """What an error says of the version that it came from."""
    if isinstance(error, (InvalidArgument, NotFound, ServableIsGenerator)):
        return Outcome.REFUSED
    return Outcome.CANCELLED if isinstance(error, Cancelled) else Outcome.FAILED


def outcome_of_abandoned(arrived: float, deadline: float, now: float) -> Outcome:
    """What it says of a version that a caller has gone: a version that never answers must not look well."""
    return Outcome.FAILED if now - arrived >= _PATIENCE * (deadline - arrived) else Outcome.CANCELLED


@dataclass(slots=True)
class ArmCounts:
    """One version's."""

    requests: int = 0
    failures: int = 0
    refusals: int = 0
    pending: int = 0
    """Begun less ended: below 0 where more ended than began since the figures were last taken."""
    latency: Counter[int] = field(default_factory=Counter)
    """By bucket."""

    def add(self, outcome: Outcome, seconds: float) -> None:
        """One request has ended."""
        self.pending -= 1
        if outcome is Outcome.CANCELLED:
            return
        self.requests += 1
        self.failures += outcome is Outcome.FAILED
        self.refusals += outcome is Outcome.REFUSED
        if outcome is Outcome.ANSWERED:
            self.latency[bucket_of(seconds)] += 1


@dataclass(frozen=True, slots=True)
class Difference:
    """Between two answers."""

    mismatched: bool
    """Names, types or shapes differ; then nothing else is said."""
    max_abs: float = 0.0
    relative: float = 0.0
    cosine_distance: float = 0.0
    rows: int = 0
    top1_rows: int = 0

    def disagrees(self, tolerance: float) -> bool:
        """Whether it is more than what is tolerated."""
        return self.mismatched or self.relative > tolerance or self.top1_rows < self.rows


@dataclass(slots=True)
class PairCounts:
    """Those of two versions; see penstock.v1.ComparisonFigures."""

    mirrored: int = 0
    dropped: int = 0
    failed: int = 0
    uncompared: int = 0
    same: int = 0
    compared: int = 0
    disagreed: int = 0
    mismatched: int = 0
    rows: int = 0
    top1_rows: int = 0
    slower_seconds: float = 0.0
    max_abs: Counter[int] = field(default_factory=Counter)
    relative: Counter[int] = field(default_factory=Counter)
    cosine_distance: Counter[int] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)
    shadow_latency: Counter[int] = field(default_factory=Counter)

    def answered(self, seconds: float, shadow_seconds: float) -> None:
        """There are two answers."""
        self.latency[bucket_of(seconds)] += 1
        self.shadow_latency[bucket_of(shadow_seconds)] += 1
        self.slower_seconds += shadow_seconds - seconds

    def differ(self, difference: Difference, tolerance: float) -> None:
        """They have been compared."""
        self.compared += 1
        self.disagreed += difference.disagrees(tolerance)
        self.mismatched += difference.mismatched
        if not difference.mismatched:
            self.rows += difference.rows
            self.top1_rows += difference.top1_rows
            self.max_abs[bucket_of(difference.max_abs)] += 1
            self.relative[bucket_of(difference.relative)] += 1
            self.cosine_distance[bucket_of(difference.cosine_distance)] += 1


Arms = dict[tuple[str, str, int, int], ArmCounts]
"""By model, alias, revision and version."""
Pairs = dict[tuple[str, str, int, int, int], PairCounts]
"""By model, alias, revision of the shadow, and the two versions."""


class Figures:
    """What was counted since it was last taken; the reader leaves out what was counted for what is no longer set."""

    def __init__(self) -> None:
        self._arms: Arms = {}
        self._pairs: Pairs = {}

    def arm(self, rules: Rules, version: int) -> ArmCounts:
        """Where a version's requests are counted."""
        key = rules.name, rules.alias, rules.revision, version
        found = self._arms.get(key)
        if found is None:
            found = self._arms[key] = ArmCounts()
        return found

    def pair(self, rules: Rules, version: int) -> PairCounts:
        """Where a version's mirrored requests are counted."""
        assert rules.mirror is not None
        key = rules.name, rules.alias, rules.mirror.revision, version, rules.mirror.version
        found = self._pairs.get(key)
        if found is None:
            found = self._pairs[key] = PairCounts()
        return found

    def take(self) -> tuple[Arms, Pairs]:
        """Everything, once."""
        taken = self._arms, self._pairs
        self._arms, self._pairs = {}, {}
        return taken
