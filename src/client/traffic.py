"""How an alias's requests are shared out and mirrored, and what came of it, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.v1 import traffic_pb2 as pb

from ..histogram import Histogram


@dataclass(frozen=True, slots=True)
class ArmStatus:
    """What one version did of the alias's requests since the split was last changed."""

    version: int
    requests: int
    """That ended; those that callers cancelled left out."""
    failures: int
    refusals: int
    """Because of what callers sent."""
    pending: int
    """That have begun and not ended, nearly."""
    p50_s: float
    p95_s: float
    """Seconds, of those that were answered; right within 4.5 %, here and below. 0: there are none."""


@dataclass(frozen=True, slots=True)
class ComparisonStatus:
    """What two versions answered to the same requests since the shadow was set."""

    version: int
    """Whose answers callers got."""
    shadow_version: int
    mirrored: int
    dropped: int
    """That were to be mirrored when gateway or shadow had no time."""
    failed: int
    uncompared: int
    """Answers too large to compare, or too many at a time."""
    same: int
    """Answers with the same bytes."""
    compared: int
    """Answers with other bytes, and of these:"""
    disagreed: int
    mismatched: int
    """Those with other names, types or shapes."""
    rows: int
    top1_rows: int
    """Rows whose greatest element is the same one."""
    max_abs: float
    relative: float
    cosine_distance: float
    """The 99th percentiles over the compared answers: the greatest difference of two numbers, the same as a share of
    the greatest number in its output, and 1 - cosine."""
    p50_s: float
    shadow_p50_s: float
    slower_s: float
    """Seconds by which the shadow takes longer, on average."""


@dataclass(frozen=True, slots=True)
class CanaryStatus:
    """The canary that runs, or the last one."""

    version: int
    baseline: int
    state: str
    """RUNNING, PROMOTED, ROLLED_BACK or STOPPED."""
    step: int
    """The first is 1."""
    steps: tuple[float, ...]
    """Per cent."""
    explanation: str
    """Why it is where it is: which figures, which bounds."""


@dataclass(frozen=True, slots=True)
class TrafficStatus:
    """One alias that has or had a split, a shadow or a canary."""

    alias: str
    revision: int
    split: Mapping[int, float]
    """Weights by version; none: all goes to the version that the alias means."""
    sticky_key: str
    shadow: int
    """The version that is asked as well; 0: none."""
    shadow_share: float
    canary: CanaryStatus | None
    arms: tuple[ArmStatus, ...]
    comparisons: tuple[ComparisonStatus, ...]


def traffic_status(message: pb.AliasTraffic) -> TrafficStatus:
    """From the wire."""
    return TrafficStatus(
        message.alias,
        message.revision,
        {part.version: part.weight for part in message.split.parts},
        message.split.sticky_key,
        message.shadow.version,
        message.shadow.share,
        _canary(message.canary) if message.HasField("canary") else None,
        tuple(map(_arm, message.evidence.arms)),
        tuple(map(_comparison, message.evidence.comparisons)),
    )


def _canary(message: pb.Canary) -> CanaryStatus:
    known = pb.CanaryState.DESCRIPTOR.values_by_number.get(message.state)
    state = known.name.removeprefix("CANARY_STATE_") if known else str(message.state)
    steps = tuple(message.policy.steps)
    return CanaryStatus(message.version, message.baseline, state, message.step + 1, steps, message.explanation)


def _arm(m: pb.ArmFigures) -> ArmStatus:
    latency = _histogram(m.latency)
    counts = m.requests, m.failures, m.refusals, max(m.pending, 0)
    return ArmStatus(m.version, *counts, latency.quantile(0.5), latency.quantile(0.95))


def _comparison(m: pb.ComparisonFigures) -> ComparisonStatus:
    counts = m.mirrored, m.dropped, m.failed, m.uncompared, m.same, m.compared, m.disagreed, m.mismatched
    latency = _histogram(m.latency)
    return ComparisonStatus(
        m.version,
        m.shadow_version,
        *counts,
        m.rows,
        m.top1_rows,
        _histogram(m.max_abs).quantile(0.99),
        _histogram(m.relative).quantile(0.99),
        _histogram(m.cosine_distance).quantile(0.99),
        latency.quantile(0.5),
        _histogram(m.shadow_latency).quantile(0.5),
        m.slower_seconds / latency.total if latency.total else 0.0,
    )


def _histogram(message: pb.Histogram) -> Histogram:
    return Histogram(dict(zip(message.buckets, message.counts, strict=False)))
