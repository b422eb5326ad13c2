"""When an alias's requests may be shared out and mirrored, and what it becomes. Decisions only; `now` in unix time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from ..errors import AliasNotFound, Conflict, FailedPrecondition, VersionNotAvailable
from .names import known_version, name_violations, refuse
from .rules import with_version
from .state import Model, Placement
from .traffic import AliasTraffic, Shadow, Split, of_alias
from .traffic_changes import changed
from .traffic_checks import shadow_violations, split_violations


def set_split(
    model: Model,
    alias: str,
    split: Split | None,
    expected: int | None,
    available: Collection[int],
    now: float,
    principal: str,
) -> Model:
    """Share an alias's requests out, or end that (`split` None).

    `expected`, if not None, is the revision that the alias's traffic must have; `available` are AVAILABLE versions.

    Raises:
        InvalidArgument, VersionNotFound: not a split; there is no such version.
        AliasNotFound: the model has no such alias.
        Conflict: it has another revision.
        VersionNotAvailable: no worker answers for a version in it.
        FailedPrecondition: a canary runs, which sets the split itself.
    """
    traffic = known(model, alias, expected)
    if traffic.running is not None:
        raise busy(model, alias, "stop it first with `penstock canary --stop`")
    if split is None:
        ended = replace(traffic, split=None)
        return model if traffic.split is None else changed(model, traffic, ended, "the split ends", now, principal)
    refuse(split_violations(split))
    model = taken(model, [part.version for part in split.parts], available)
    text = f"split: {_parts(split)}{f', sticky by {split.sticky_key}' if split.sticky_key else ''}"
    return changed(model, traffic, replace(traffic, split=split), text, now, principal)


def set_shadow(
    model: Model,
    alias: str,
    shadow: Shadow | None,
    expected: int | None,
    available: Collection[int],
    now: float,
    principal: str,
) -> Model:
    """Mirror a share of an alias's requests, or end that (`shadow` None). Raises as `set_split` does."""
    traffic = known(model, alias, expected)
    if shadow is None:
        ended = replace(traffic, shadow=None)
        return model if traffic.shadow is None else changed(model, traffic, ended, "the shadow ends", now, principal)
    refuse(shadow_violations(shadow))
    if shadow.version == model.aliases[alias]:
        text = f"the alias {alias!r} means version {shadow.version} itself: there is nothing to compare"
        raise FailedPrecondition(text, precondition=f"{model.name}@{alias}")
    model = taken(model, [shadow.version], available)
    shadow = replace(shadow, revision=traffic.revision + 1, since=now)
    text = f"shadow: {shadow.share:.2%} to version {shadow.version}"
    return changed(model, traffic, replace(traffic, shadow=shadow), text, now, principal)


def known(model: Model, alias: str, expected: int | None) -> AliasTraffic:
    """The traffic of an alias that exists, and has the revision that is expected."""
    refuse(name_violations("alias", alias))
    if alias not in model.aliases:
        there = ", ".join(map(repr, sorted(model.aliases)[:8]))
        text = f"the model {model.name!r} has no alias {alias!r}; it has {there}"
        facts = {"model": model.name, "alias": alias}
        raise AliasNotFound(text, resource=("alias", f"{model.name}@{alias}"), metadata=facts)
    traffic = of_alias(model.settings.traffic, alias)
    if expected is not None and traffic.revision != expected:
        text = f"the traffic of {model.name}@{alias} has revision {traffic.revision}, not {expected}"
        facts = {"model": model.name, "alias": alias, "revision": str(traffic.revision)}
        raise Conflict(f"{text}; read again and decide again", metadata=facts)
    return traffic


def taken(model: Model, numbers: Iterable[int], available: Collection[int]) -> Model:
    """The model whose versions are held by the alias's traffic from now on; they must answer already."""
    for number in numbers:
        version = known_version(model, number)
        if number not in available:
            text = f"{model.name}:{number} is not AVAILABLE; `penstock status {model.name}` says why"
            facts = {"model": model.name, "version": str(number)}
            raise VersionNotAvailable(
                f"{text}, deploy it and wait", precondition=f"{model.name}:{number}", metadata=facts
            )
        if version.placement is Placement.PINNED:
            model = with_version(model, replace(version, placement=Placement.AUTO))
    return model


def busy(model: Model, alias: str, remedy: str, what: str = "a canary runs") -> FailedPrecondition:
    """The refusal of what something else is in the way of."""
    text = f"{what} for the alias {alias!r} of {model.name!r}: {remedy}"
    return FailedPrecondition(text, precondition=f"{model.name}@{alias}")


def _parts(split: Split) -> str:
    total = sum(part.weight for part in split.parts)
    return ", ".join(f"version {part.version} {part.weight / total:.2%}" for part in split.parts)
