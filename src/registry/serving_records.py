"""A model's serving policy between the wire's message and the registry's value, both ways."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from penstock.v1 import registry_pb2 as pb

from .state import ServingPolicy, VersionPolicy


def serving_to_message(policy: ServingPolicy) -> pb.ServingPolicy:
    """As it goes on the wire, and into the store."""
    return pb.ServingPolicy(
        versions=_versions_to_message(policy.versions),
        instances=policy.instances,
        device=policy.device,
        keep_warm=None if policy.keep_warm_s is None else _duration(policy.keep_warm_s),
        resource_preserving=policy.resource_preserving,
        lazy=policy.lazy,
        idle=None if policy.idle_s is None else _duration(policy.idle_s),
    )


def serving_from_message(message: pb.ServingPolicy) -> ServingPolicy:
    """As it is used inside; not checked."""
    return ServingPolicy(
        _versions(message.versions),
        message.instances,
        message.device,
        seconds_of(message.keep_warm) if message.HasField("keep_warm") else None,
        message.resource_preserving,
        message.lazy,
        seconds_of(message.idle) if message.HasField("idle") else None,
    )


def _versions_to_message(policy: VersionPolicy) -> pb.VersionPolicy:
    if policy.all:
        return pb.VersionPolicy(all=True)
    if policy.pinned:
        return pb.VersionPolicy(pinned=pb.VersionList(versions=policy.pinned))
    return pb.VersionPolicy(latest=policy.latest) if policy.latest else pb.VersionPolicy()


def _versions(message: pb.VersionPolicy) -> VersionPolicy:
    return VersionPolicy(message.latest, tuple(message.pinned.versions), message.all)


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromMilliseconds(round(seconds * 1000))
    return message


def seconds_of(message: Duration) -> float:
    """A duration that a caller may have made up."""
    # Not ToMilliseconds: a caller's message may hold seconds that no timedelta can.
    return message.seconds + message.nanos / 1e9
