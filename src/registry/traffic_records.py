"""Between the wire's messages and the values of an alias's traffic, both ways."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from penstock.v1 import traffic_pb2 as pb

from ..histogram import Histogram, bounded
from .ledger import Report
from .traffic import (
    AliasTraffic,
    Arm,
    Canary,
    CanaryPolicy,
    CanaryState,
    Comparison,
    Evidence,
    Part,
    Shadow,
    Split,
    TrafficChange,
)

TOLERANCE = 0.001
_DEFAULT = CanaryPolicy()
_COUNTS = (
    "version",
    "shadow_version",
    "mirrored",
    "dropped",
    "failed",
    "uncompared",
    "same",
    "compared",
    "disagreed",
    "mismatched",
    "rows",
    "top1_rows",
)
_HISTOGRAMS = ("max_abs", "relative", "cosine_distance", "latency", "shadow_latency")


def traffic_to_message(traffic: AliasTraffic) -> pb.AliasTraffic:
    """As it goes on the wire, and into the store."""
    message = pb.AliasTraffic(alias=traffic.alias, revision=traffic.revision)
    if traffic.split is not None:
        message.split.sticky_key = traffic.split.sticky_key
        for part in traffic.split.parts:
            message.split.parts.add(version=part.version, weight=part.weight)
    if (shadow := traffic.shadow) is not None:
        message.shadow.version, message.shadow.share = shadow.version, shadow.share
        message.shadow.tolerance, message.shadow.revision = shadow.tolerance, shadow.revision
        message.shadow.since.CopyFrom(_timestamp(shadow.since))
    if traffic.canary is not None:
        message.canary.CopyFrom(_canary_to_message(traffic.canary))
    message.changes.extend(map(_change_to_message, traffic.changes))
    message.evidence.CopyFrom(_evidence_to_message(traffic.evidence))
    return message


def traffic_from_message(message: pb.AliasTraffic) -> AliasTraffic:
    """As it is used inside."""
    return AliasTraffic(
        message.alias,
        message.revision,
        split_from_message(message.split) if message.HasField("split") else None,
        shadow_from_message(message.shadow) if message.HasField("shadow") else None,
        _canary(message.canary) if message.HasField("canary") else None,
        tuple(map(_change, message.changes)),
        _evidence(message.evidence),
    )


def split_from_message(message: pb.TrafficSplit) -> Split:
    """As somebody asks for it; not checked."""
    return Split(tuple(Part(part.version, part.weight) for part in message.parts), message.sticky_key)


def shadow_from_message(message: pb.TrafficShadow) -> Shadow:
    """As somebody asks for it; not checked."""
    tolerance = message.tolerance if message.HasField("tolerance") else TOLERANCE
    return Shadow(message.version, message.share, tolerance, message.revision, _seconds(message.since))


def policy_from_message(message: pb.CanaryPolicy) -> CanaryPolicy:
    """As somebody asks for it, with our figures for what is not said; not checked."""

    def given(field: str, default: float) -> float:
        return float(getattr(message, field)) if message.HasField(field) else default  # type: ignore[arg-type]

    pause = message.min_step_time
    return CanaryPolicy(
        tuple(message.steps) or _DEFAULT.steps,
        message.min_requests or _DEFAULT.min_requests,
        pause.seconds + pause.nanos / 1e9 if message.HasField("min_step_time") else _DEFAULT.min_step_s,
        given("max_error_increase", _DEFAULT.max_error_increase),
        given("max_latency_ratio", _DEFAULT.max_latency_ratio),
        given("max_disagreement", _DEFAULT.max_disagreement),
        message.alpha or _DEFAULT.alpha,
    )


def report_from_message(message: pb.TrafficReport) -> Report:
    """What a gateway has counted."""
    evidence = Evidence(
        message.revision,
        message.shadow_revision,
        tuple(map(_arm, message.arms)),
        tuple(map(_comparison, message.comparisons)),
    )
    return Report(message.name, message.alias, evidence)


def _canary_to_message(canary: Canary) -> pb.Canary:
    policy = canary.policy
    message = pb.Canary(
        version=canary.version,
        baseline=canary.baseline,
        policy=pb.CanaryPolicy(
            steps=policy.steps,
            min_requests=policy.min_requests,
            max_error_increase=policy.max_error_increase,
            max_latency_ratio=policy.max_latency_ratio,
            max_disagreement=policy.max_disagreement,
            alpha=policy.alpha,
        ),
        state=int(canary.state),  # type: ignore[arg-type]
        step=canary.step,
        started=_timestamp(canary.started),
        step_started=_timestamp(canary.step_started),
        principal=canary.principal,
        explanation=canary.explanation,
    )
    message.policy.min_step_time.FromNanoseconds(round(policy.min_step_s * 1e9))
    return message


def _canary(message: pb.Canary) -> Canary:
    known = int(message.state) in set(CanaryState)
    return Canary(
        message.version,
        message.baseline,
        policy_from_message(message.policy),
        CanaryState(message.state) if known else CanaryState.STOPPED,
        message.step,
        _seconds(message.started),
        _seconds(message.step_started),
        message.principal,
        message.explanation,
    )


def _change_to_message(change: TrafficChange) -> pb.TrafficChange:
    return pb.TrafficChange(
        revision=change.revision,
        time=_timestamp(change.time),
        principal=change.principal,
        change=change.change,
        left=change.left,
    )


def _change(message: pb.TrafficChange) -> TrafficChange:
    return TrafficChange(
        message.revision, _seconds(message.time), message.principal, message.change, tuple(message.left)
    )


def _evidence_to_message(evidence: Evidence) -> pb.TrafficEvidence:
    message = pb.TrafficEvidence(
        revision=evidence.revision, shadow_revision=evidence.shadow_revision, reports=evidence.reports
    )
    for arm in evidence.arms:
        message.arms.add(
            version=arm.version,
            requests=arm.requests,
            failures=arm.failures,
            refusals=arm.refusals,
            pending=arm.pending,
            latency=_histogram_to_message(arm.latency),
        )
    for comparison in evidence.comparisons:
        added = message.comparisons.add(slower_seconds=comparison.slower_s)
        for name in _COUNTS:
            setattr(added, name, getattr(comparison, name))
        for name in _HISTOGRAMS:
            getattr(added, name).CopyFrom(_histogram_to_message(getattr(comparison, name)))
    return message


def _evidence(message: pb.TrafficEvidence) -> Evidence:
    arms, comparisons = tuple(map(_arm, message.arms)), tuple(map(_comparison, message.comparisons))
    return Evidence(message.revision, message.shadow_revision, arms, comparisons, dict(message.reports))


def _arm(message: pb.ArmFigures) -> Arm:
    failures = min(message.failures, message.requests)
    refusals = min(message.refusals, message.requests)
    return Arm(message.version, message.requests, failures, refusals, _histogram(message.latency), message.pending)


def _comparison(message: pb.ComparisonFigures) -> Comparison:
    given: dict[str, Any] = {name: getattr(message, name) for name in _COUNTS}
    given["disagreed"] = min(message.disagreed, message.compared)
    given |= {name: _histogram(getattr(message, name)) for name in _HISTOGRAMS}
    return Comparison(**given, slower_s=message.slower_seconds)


def _histogram_to_message(histogram: Histogram) -> pb.Histogram:
    buckets = sorted(histogram.counts)
    return pb.Histogram(buckets=buckets, counts=[histogram.counts[bucket] for bucket in buckets])


def _histogram(message: pb.Histogram) -> Histogram:
    counts: dict[int, int] = {}
    for bucket, count in zip(message.buckets, message.counts, strict=False):
        counts[bounded(bucket)] = counts.get(bounded(bucket), 0) + count
    return Histogram(counts)


def _timestamp(seconds: float) -> Timestamp:
    message = Timestamp()
    message.FromMilliseconds(round(seconds * 1000))
    return message


def _seconds(message: Timestamp) -> float:
    return message.ToMilliseconds() / 1000
