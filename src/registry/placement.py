"""Which versions of a model are loaded, and how often: pins, and the rule for all others. Decisions only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

from ..errors import FailedPrecondition
from .drafts import device_violations, instance_violations
from .names import known_version, refuse
from .rules import with_version
from .state import Model, Placement, Version
from .traffic_changes import held, left, users

KEEP_WARM_S = 300.0
"""For how long a version stays loaded after the last alias has left it, so that a rollback needs no load."""


def deploy(model: Model, number: int, instances: int, device: str) -> Model:
    """Pin a version, or give all of them back to the rule (`number` 0).

    Args:
        model: as it is.
        number: the version; 0: all.
        instances: how many workers; 0: as before.
        device: where; empty: as before.

    Raises:
        InvalidArgument: not a version, not a device, too many instances.
        VersionNotFound: there is no such version.
    """
    refuse(chain(instance_violations(instances), device_violations(device)))

    def placed(version: Version, placement: Placement) -> Version:
        return replace(
            version,
            placement=placement,
            instances=instances or version.instances,
            device=device or version.device,
        )

    if number:
        return with_version(model, placed(known_version(model, number), Placement.PINNED))
    return _all(model, lambda version: placed(version, Placement.AUTO))


def undeploy(model: Model, number: int) -> Model:
    """Unload a version, or all of them (`number` 0), whatever the rule says.

    Raises:
        InvalidArgument: not a version.
        VersionNotFound: there is no such version.
        FailedPrecondition: an alias means that one version, or an alias's traffic goes to it; undeploying the whole
            model is never refused.
    """
    if number == 0:
        return _all(model, lambda version: replace(version, placement=Placement.UNDEPLOYED))
    version = known_version(model, number)
    aliases = sorted(alias for alias, meant in model.aliases.items() if meant == number)
    if aliases:
        subject = f"{model.name}:{number}"
        text = f"the alias {aliases[0]!r} means {subject}; make it mean another version, or undeploy the whole model"
        raise FailedPrecondition(text, precondition=subject, metadata={"model": model.name, "version": str(number)})
    if split := users(model, number):
        subject = f"{model.name}:{number}"
        text = f"the traffic of the alias {split[0]!r} goes to {subject}; end its split, shadow or canary first"
        raise FailedPrecondition(text, precondition=subject, metadata={"model": model.name, "version": str(number)})
    return with_version(model, replace(version, placement=Placement.UNDEPLOYED))


def _all(model: Model, change: Callable[[Version], Version]) -> Model:
    return replace(model, versions=tuple(change(version) for version in model.versions))


def desired_instances(model: Model, now: float, keep_warm_s: float = KEEP_WARM_S) -> dict[int, int]:
    """How many workers should hold each version; `now` in unix seconds."""
    by_rule = set(model.aliases.values()) | held(model) | set(_warm_until(model, now, keep_warm_s))
    if model.versions:
        by_rule.add(model.versions[-1].number)
    return {v.number: v.instances if _is_wanted(v, by_rule) else 0 for v in model.versions}


def _is_wanted(version: Version, by_rule: set[int]) -> bool:
    if version.placement is Placement.AUTO:
        return version.number in by_rule
    return version.placement is Placement.PINNED


def next_change(model: Model, now: float, keep_warm_s: float = KEEP_WARM_S) -> float | None:
    """When time alone next changes what is desired, in unix seconds; None: never."""
    return min(_warm_until(model, now, keep_warm_s).values(), default=None)


def _warm_until(model: Model, now: float, keep_warm_s: float) -> dict[int, float]:
    """The versions that an alias, or its traffic, has left not long ago, and until when each stays."""
    ends = {change.previous: change.time + keep_warm_s for change in model.changes if change.previous}
    for number, time in left(model):
        ends[number] = max(time + keep_warm_s, ends.get(number, 0.0))
    return {number: end for number, end in ends.items() if end > now}
