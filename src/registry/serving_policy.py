"""What a model's serving policy says of its versions, and how it is changed. Decisions only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain

from ..errors import Violation
from .drafts import device_violations, instance_violations
from .names import known_version, quoted, refuse, version_violations
from .state import Model, ServingPolicy, Version, VersionPolicy

MAX_LATEST = 1000
MAX_PINNED = 100
MAX_SECONDS = 30 * 24 * 3600.0
IDLE_S = 300.0
"""For how long a lazy model's version stays loaded after its last use."""
MIN_IDLE_S = 5.0
"""Gateways report a use up to a few seconds late."""
FIELDS = {
    "versions": "versions",
    "instances": "instances",
    "device": "device",
    "keep_warm": "keep_warm_s",
    "resource_preserving": "resource_preserving",
    "lazy": "lazy",
    "idle": "idle_s",
}
"""The policy's fields as callers name them, and as they are named here."""


def chosen(model: Model) -> set[int]:
    """The versions that the policy names; the newest is the one that was published last, whatever its number."""
    numbers = [version.number for version in model.versions]
    policy = model.settings.serving.versions
    if policy.all:
        return set(numbers)
    if policy.pinned:
        return set(policy.pinned)
    return set(numbers[-(policy.latest or 1) :])


def instances(model: Model, version: Version) -> int:
    """How many workers a version should have while it is loaded."""
    return version.instances or model.settings.serving.instances or 1


def device(model: Model, version: Version) -> str:
    """Where a version should run."""
    return version.device or model.settings.serving.device or "auto"


def with_policy(model: Model, policy: ServingPolicy, fields: Collection[str]) -> Model:
    """The model with these fields of its policy taken from `policy`.

    Raises:
        InvalidArgument: there is no such field, or it cannot be like this.
        VersionNotFound: a version that is named does not exist.
    """
    refuse(_unknown(fields))
    changes = {FIELDS[field]: getattr(policy, FIELDS[field]) for field in fields}
    after = replace(model.settings.serving, **changes)
    check_policy(after)
    for number in after.versions.pinned:
        known_version(model, number)
    return with_serving(model, after)


def check_policy(policy: ServingPolicy) -> None:
    """Raise InvalidArgument with all that is wrong with a policy, except for versions that do not exist."""
    refuse(_violations(policy))


def idle_s(model: Model) -> float:
    """How long a lazy model's version stays loaded after its last use."""
    said = model.settings.serving.idle_s
    return IDLE_S if said is None else said


def with_serving(model: Model, policy: ServingPolicy) -> Model:
    """The model with this policy; not checked."""
    return replace(model, settings=replace(model.settings, serving=policy))


def _unknown(fields: Collection[str]) -> Iterator[Violation]:
    for field in fields:
        if field not in FIELDS:
            yield Violation("update_mask", f"{quoted(field)} is no field of a policy; they are {', '.join(FIELDS)}")


def _violations(policy: ServingPolicy) -> Iterator[Violation]:
    placed = chain(instance_violations(policy.instances), device_violations(policy.device))
    yield from (replace(wrong, field=f"policy.{wrong.field}") for wrong in placed)
    yield from _version_violations(policy.versions)
    for field, seconds, least in (("keep_warm", policy.keep_warm_s, 0.0), ("idle", policy.idle_s, MIN_IDLE_S)):
        if seconds is not None and not least <= seconds <= MAX_SECONDS:
            yield Violation(f"policy.{field}", f"{seconds:g} s: must be from {least:g} to {MAX_SECONDS:g} s")


def _version_violations(policy: VersionPolicy) -> Iterator[Violation]:
    if not 0 <= policy.latest <= MAX_LATEST:
        yield Violation("policy.versions.latest", f"{policy.latest} versions: must be from 1 to {MAX_LATEST}")
    if len(policy.pinned) > MAX_PINNED:
        yield Violation("policy.versions.pinned", f"{len(policy.pinned)} versions: at most {MAX_PINNED}")
    for number in policy.pinned[:MAX_PINNED]:
        yield from version_violations("policy.versions.pinned", number)
