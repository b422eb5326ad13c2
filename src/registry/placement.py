"""Which versions of a model are loaded, and how often: pins, and the rule for all others. Decisions only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain

from ..errors import FailedPrecondition
from .budget import Key, Rank, Wish
from .drafts import device_violations, instance_violations
from .names import known_version, refuse
from .rules import with_version
from .serving_policy import chosen, idle_s, with_serving
from .serving_policy import instances as instances_of
from .state import Model, Placement, Version
from .traffic_changes import held, left, users

KEEP_WARM_S = 300.0
"""For how long a version stays loaded after the last alias has left it, so that a rollback needs no load."""
NOBODY: Mapping[int, float] = {}


def deploy(model: Model, number: int, instances: int, device: str) -> Model:
    """Pin a version, or give all of them back to the rule (`number` 0).

    Args:
        model: as it is.
        number: the version; 0: all.
        instances: how many workers; 0: as before. For all versions it becomes the model's policy, which later ones
            have, too.
        device: where; empty: as before. Likewise.

    Raises:
        InvalidArgument: not a version, not a device, too many instances.
        VersionNotFound: there is no such version.
    """
    refuse(chain(instance_violations(instances), device_violations(device)))

    def placed(version: Version) -> Version:
        return replace(
            version,
            placement=Placement.PINNED,
            instances=instances or version.instances,
            device=device or version.device,
        )

    def released(version: Version) -> Version:
        """What it says itself would be stronger than the policy."""
        return replace(
            version,
            placement=Placement.AUTO,
            instances=0 if instances else version.instances,
            device="" if device else version.device,
        )

    if number:
        return with_version(model, placed(known_version(model, number)))
    policy = model.settings.serving
    policy = replace(policy, instances=instances or policy.instances, device=device or policy.device)
    return with_serving(_all(model, released), policy)


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


def wishes(
    model: Model, now: float, keep_warm_s: float = KEEP_WARM_S, ages: Mapping[int, float] = NOBODY
) -> dict[int, Wish]:
    """Which versions should be loaded, how often, and why.

    Args:
        model: with its policy.
        now: in unix seconds.
        keep_warm_s: for a model whose policy does not say it.
        ages: of the versions that are awake, should the model be lazy: see `Demand.ages`.
    """
    lazy = model.settings.serving.lazy
    if (
        lazy
        and not ages
        and not held(model)
        and all(version.placement is not Placement.PINNED for version in model.versions)
    ):
        return {}  # quickly: there may be a thousand that sleep
    since = {change.previous: change.time for change in model.changes}
    for number, time in left(model):
        since[number] = max(time, since.get(number, 0.0))
    by_rule = {number: Wish(Rank.SPARE, age=now - since[number]) for number in _warm_until(model, now, keep_warm_s)}
    by_rule |= {number: Wish(Rank.CHOSEN) for number in chosen(model)}
    by_rule |= {number: Wish(Rank.ALIASED) for number in model.aliases.values()}
    if lazy:
        idle = idle_s(model)
        by_rule = {n: Wish(Rank.SPARE, age=age) for n, age in ages.items() if n in by_rule and age < idle}
    # A version that sleeps would get no requests of a split, and not wake.
    by_rule |= {number: Wish(Rank.ALIASED) for number in held(model)}
    yields = model.settings.serving.resource_preserving
    found = {}
    for order, version in enumerate(reversed(model.versions)):
        wish = Wish(Rank.PINNED) if version.placement is Placement.PINNED else by_rule.get(version.number)
        if wish is not None and version.placement is not Placement.UNDEPLOYED:
            wish = replace(wish, instances=instances_of(model, version))
            found[version.number] = replace(wish, yields=True, age=float(order)) if yields and wish.needed else wish
    return found


def on_demand(model: Model) -> set[int]:
    """The versions of which their use decides whether they are loaded."""
    if not model.settings.serving.lazy:
        return set()
    automatic = {version.number for version in model.versions if version.placement is Placement.AUTO}
    return automatic & _named(model) - held(model)


def memory_of(model: Model | None, number: int, reported: Mapping[Key, int], least: int = 0) -> int:
    """Bytes that a worker of a version takes.

    As it was seen, or else as the greatest of the model's other versions, or else what its files have, or `least`.

    Args:
        model: None: there is none any longer.
        number: of the version.
        reported: what workers say of themselves now.
        least: the smallest worker seen of any model: libraries alone may take more than the files do.
    """
    version = model.version(number) if model else None
    if model is None or version is None:
        return 0

    def seen(version: Version) -> int:
        return max(version.memory, reported.get((model.name, version.number), 0))

    known = seen(version) or max(map(seen, model.versions))
    return known or max(least, sum(file.size for file in version.manifest.files))


def desired_instances(model: Model, now: float, keep_warm_s: float = KEEP_WARM_S) -> dict[int, int]:
    """How many workers should hold each version where there is room for all. See `wishes` for the arguments."""
    wanted = wishes(model, now, keep_warm_s)
    return {v.number: wanted[v.number].instances if v.number in wanted else 0 for v in model.versions}


def only_warm(model: Model, now: float, keep_warm_s: float = KEEP_WARM_S) -> dict[int, float]:
    """The versions that are loaded only because an alias meant them until lately, and until when they are."""
    if model.settings.serving.lazy:
        return {}
    named, ends = _named(model) | held(model), _warm_until(model, now, keep_warm_s)
    automatic = {version.number for version in model.versions if version.placement is Placement.AUTO}
    return {number: end for number, end in ends.items() if number in automatic and number not in named}


def _named(model: Model) -> set[int]:
    """What the rule loads however long ago it was named."""
    return {*model.aliases.values(), *chosen(model)}


def next_change(
    model: Model, now: float, keep_warm_s: float = KEEP_WARM_S, ages: Mapping[int, float] = NOBODY
) -> float | None:
    """When time alone next changes what is desired, in unix seconds; None: never. See `wishes` for the arguments."""
    ends = list(_warm_until(model, now, keep_warm_s).values())
    if model.settings.serving.lazy:
        idle = idle_s(model)
        ends += [now + idle - age for age in ages.values() if age < idle]
    return min(ends, default=None)


def _warm_until(model: Model, now: float, keep_warm_s: float) -> dict[int, float]:
    """The versions that an alias, or its traffic, has left not long ago, and until when each stays."""
    own = model.settings.serving.keep_warm_s
    keep_warm_s = keep_warm_s if own is None else own
    ends = {change.previous: change.time + keep_warm_s for change in model.changes if change.previous}
    for number, time in left(model):
        ends[number] = max(time + keep_warm_s, ends.get(number, 0.0))
    return {number: end for number, end in ends.items() if end > now}
