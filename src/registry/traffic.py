"""The values of an alias's traffic: split, shadow, canary, and what was counted. No rules, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, TypeVar

from ..histogram import Histogram

T = TypeVar("T", "Arm", "Comparison")


@dataclass(frozen=True, slots=True)
class Part:
    """One version's part of a split."""

    version: int
    weight: float


@dataclass(frozen=True, slots=True)
class Split:
    """Requests go to these versions by weight."""

    parts: tuple[Part, ...]
    sticky_key: str = ""
    """The metadata key whose value decides; empty: none does."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """Another version is asked a share of the requests as well."""

    version: int
    share: float
    tolerance: float
    revision: int = 0
    """The alias's, with which the comparison began."""
    since: float = 0.0
    """Unix seconds."""


class CanaryState(IntEnum):
    """What became of a canary. Numbers are those of penstock.v1.CanaryState."""

    RUNNING = 1
    PROMOTED = 2
    ROLLED_BACK = 3
    STOPPED = 4


@dataclass(frozen=True, slots=True)
class CanaryPolicy:
    """When a new version is given more, and when it is taken back."""

    steps: tuple[float, ...] = (1.0, 5.0, 25.0, 50.0, 100.0)
    """In per cent, ascending; the last is 100."""
    min_requests: int = 500
    min_step_s: float = 10.0
    max_error_increase: float = 0.01
    max_latency_ratio: float = 1.5
    """0: as slow as it likes."""
    max_disagreement: float = 0.01
    alpha: float = 0.01


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that is given more step by step. Times in unix seconds."""

    version: int
    baseline: int
    policy: CanaryPolicy
    state: CanaryState = CanaryState.RUNNING
    step: int = 0
    started: float = 0.0
    step_started: float = 0.0
    principal: str = ""
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class TrafficChange:
    """Something was changed, at `time` (unix seconds)."""

    revision: int
    time: float
    principal: str
    change: str
    left: tuple[int, ...] = ()
    """Versions that had a part until then."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What one version did of an alias's traffic."""

    version: int
    requests: int = 0
    failures: int = 0
    refusals: int = 0
    latency: Histogram = Histogram()
    """Seconds."""
    pending: int = 0
    """Begun less ended. Where reports were lost it is only nearly so."""

    @property
    def troubled(self) -> float:
        """The share that has failed, or may still."""
        pending = max(self.pending, 0)
        return (self.failures + pending) / (self.requests + pending) if self.requests + pending else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two versions answered to the same requests; see penstock.v1.ComparisonFigures."""

    version: int
    shadow_version: int
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
    max_abs: Histogram = Histogram()
    relative: Histogram = Histogram()
    cosine_distance: Histogram = Histogram()
    latency: Histogram = Histogram()
    shadow_latency: Histogram = Histogram()
    slower_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was counted since the split, or the shadow, was last changed."""

    revision: int = 0
    shadow_revision: int = 0
    arms: tuple[Arm, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    reports: Mapping[str, int] = field(default_factory=dict)
    """By gateway, the last report that is in it."""

    def arm(self, version: int) -> Arm:
        """A version's."""
        return next((arm for arm in self.arms if arm.version == version), Arm(version))

    def comparison(self, version: int, shadow_version: int) -> Comparison:
        """That of two versions."""
        pair = version, shadow_version
        found = (c for c in self.comparisons if (c.version, c.shadow_version) == pair)
        return next(found, Comparison(*pair))


@dataclass(frozen=True, slots=True)
class AliasTraffic:
    """Everything about the traffic of one alias."""

    alias: str
    revision: int = 0
    """Grows with every change."""
    split: Split | None = None
    shadow: Shadow | None = None
    canary: Canary | None = None
    """The running one, or the last."""
    changes: tuple[TrafficChange, ...] = ()
    evidence: Evidence = Evidence()

    @property
    def running(self) -> Canary | None:
        """The canary, if one runs."""
        return self.canary if self.canary is not None and self.canary.state is CanaryState.RUNNING else None


def of_alias(traffic: Iterable[AliasTraffic], alias: str) -> AliasTraffic:
    """An alias's; a new one if there is none yet."""
    return next((found for found in traffic if found.alias == alias), AliasTraffic(alias))


def added(figures: tuple[T, ...], more: Iterable[T]) -> tuple[T, ...]:
    """The sums; versions, and pairs of them, stay what they are."""
    found = {_of(figure): figure for figure in figures}
    for other in more:
        known = found.get(_of(other))
        found[_of(other)] = other if known is None else _sum(known, other)
    return tuple(found[key] for key in sorted(found))


def _of(figure: Arm | Comparison) -> tuple[int, ...]:
    return (figure.version,) if isinstance(figure, Arm) else (figure.version, figure.shadow_version)


def _sum(one: T, other: T) -> T:
    sums: dict[str, Any] = {}
    for entry in fields(one):
        mine, theirs = getattr(one, entry.name), getattr(other, entry.name)
        if entry.name in ("version", "shadow_version"):
            sums[entry.name] = mine
        else:
            sums[entry.name] = mine.plus(theirs) if isinstance(mine, Histogram) else mine + theirs
    return type(one)(**sums)
