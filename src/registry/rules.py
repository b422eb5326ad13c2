"""What publishing a version and moving an alias do to a model, and when they are refused. Decisions only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ..errors import AliasNotFound, Conflict, FailedPrecondition, VersionExists, VersionNotAvailable
from ..optimization import Optimization
from .names import MAX_VERSION, known_version, name_violations, refuse
from .state import STABLE, AliasChange, Draft, Manifest, Model, Placement, Settings, Version
from .traffic_changes import alias_moved

MAX_CHANGES = 1000
"""How many changes of its aliases a model remembers; the last change of each alias besides."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a model becomes."""

    model: Model
    changes: tuple[AliasChange, ...] = ()
    """The new ones, in their order; the model has them already."""


def manifest_of(model: Model | None, draft: Draft, now: float) -> Manifest:
    """What the draft would be published as; `now` in unix seconds.

    Raises:
        FailedPrecondition: there is no next number.
    """
    greatest = max([model.settings.deleted_up_to, *(v.number for v in model.versions)]) if model else 0
    number = draft.version or greatest + 1
    if number > MAX_VERSION:
        raise FailedPrecondition(
            f"{draft.name!r} has version {greatest}, after which there is none; name a smaller one",
            precondition=draft.name,
        )
    return Manifest(
        draft.name,
        number,
        draft.format,
        draft.entry,
        draft.files,
        draft.batching,
        round(now, 3),
        dict(draft.labels),
        draft.examples,
        Optimization(draft.optimization),
    )


def published(model: Model | None, draft: Draft) -> Version | None:
    """The version that the draft is already, or None if it is new.

    Raises:
        VersionExists: the number is taken by other content.
        FailedPrecondition: the number may have been that of a version that was deleted.
    """
    known = model.version(draft.version) if model and draft.version else None
    if model is None or known is None:
        _refuse_used_number(model, draft)
        return None
    if replace(manifest_of(model, draft, 0), created=known.manifest.created) != known.manifest:
        resource = f"{draft.name}:{draft.version}"
        text = f"{resource} is published with other content; versions never change: publish it as another version"
        raise VersionExists(text, resource=("version", resource), metadata=_names(draft.name, draft.version))
    return known


def check_loaded(published: Manifest, loaded: Manifest | None) -> None:
    """Refuse a worker that holds other content than the version has here. None: it does not say.

    Raises:
        FailedPrecondition: it was started by a registry that knew another version of that number.
    """
    if loaded is None:
        return
    if (loaded.format, loaded.entry, loaded.files) != (published.format, published.entry, published.files):
        subject = f"{published.name}:{published.version}"
        text = f"the worker has loaded other content than {subject} has in this registry; end it and start another"
        raise FailedPrecondition(text, precondition=subject, metadata=_names(published.name, published.version))


def _refuse_used_number(model: Model | None, draft: Draft) -> None:
    """A number never means two contents, not even one after the other: histories and signatures name it."""
    used = model.settings.deleted_up_to if model else 0
    if 0 < draft.version <= used:
        text = f"versions of {draft.name!r} up to {used} were deleted, and their numbers are not given again"
        raise FailedPrecondition(f"{text}; publish it as version {used + 1} or above", precondition=draft.name)


def publish(model: Model | None, draft: Draft, now: float, principal: str) -> Decision:
    """Add a version that `published` found to be new; the first one of a model gets the alias `stable`."""
    manifest = manifest_of(model, draft, now)
    version = Version(manifest, instances=draft.instances, device=draft.device)
    before = model or Model(draft.name, settings=Settings(serving=draft.serving))
    aliases = draft.aliases if before.versions else (STABLE, *draft.aliases)
    decision = Decision(replace(before, versions=(*before.versions, version)))
    for alias in dict.fromkeys(aliases):
        decision = _moved(decision, alias, manifest.version, now, principal)
    return decision


def set_alias(
    model: Model,
    alias: str,
    number: int,
    expected: int | None,
    available: Collection[int],
    now: float,
    principal: str,
) -> Decision:
    """Make an alias mean a version; one that means it already stays as it is, and no change is noted.

    `expected`, if not None, is what it must mean now (0: nothing); `available` are the versions that are AVAILABLE.

    Raises:
        InvalidArgument, VersionNotFound: not a name, not a version; there is no such version.
        Conflict: it means something else than expected.
        VersionNotAvailable: no worker answers for it.
    """
    refuse(name_violations("alias", alias))
    current = model.aliases.get(alias, 0)
    if expected is not None and current != expected:
        text = f"the alias {alias!r} of {model.name!r} means {_means(current)}, not {_means(expected)}"
        raise Conflict(f"{text}; read again and decide again", metadata=_names(model.name, current) | {"alias": alias})
    version = known_version(model, number)
    if current == number:
        return Decision(model)
    if number not in available:
        text = f"{model.name}:{number} is not AVAILABLE; `penstock status {model.name}` says why, deploy it and wait"
        raise VersionNotAvailable(text, precondition=f"{model.name}:{number}", metadata=_names(model.name, number))
    if version.placement is Placement.PINNED:  # from now on the alias holds it
        model = with_version(model, replace(version, placement=Placement.AUTO))
    return _moved(Decision(model), alias, number, now, principal)


def delete_alias(model: Model, alias: str, now: float, principal: str) -> Decision:
    """Take an alias away.

    Raises:
        FailedPrecondition: it is `stable`.
        AliasNotFound: there is none.
    """
    refuse(name_violations("alias", alias))
    if alias == STABLE:
        text = f"the alias {STABLE!r} stays: requests that say nothing mean it; make it mean another version instead"
        raise FailedPrecondition(text, precondition=f"{model.name}@{alias}")
    if alias not in model.aliases:
        raise _no_alias(model, alias)
    return _moved(Decision(model), alias, 0, now, principal)


def rollback_target(model: Model, alias: str) -> int:
    """The version that the alias meant before its last change; an alias that was taken away has one, too.

    Raises:
        AliasNotFound: there never was one.
        FailedPrecondition: it meant nothing before.
    """
    refuse(name_violations("alias", alias))
    last = next((change for change in reversed(model.changes) if change.alias == alias), None)
    if last is None:
        raise _no_alias(model, alias)
    if last.previous == 0:
        text = (
            f"the alias {alias!r} of {model.name!r} meant nothing before version {last.version}: nothing to go back to"
        )
        raise FailedPrecondition(text, precondition=f"{model.name}@{alias}")
    return last.previous


def with_version(model: Model, version: Version) -> Model:
    """The model with one version replaced by that of the same number."""
    return replace(model, versions=tuple(version if v.number == version.number else v for v in model.versions))


def remembered(changes: tuple[AliasChange, ...]) -> tuple[AliasChange, ...]:
    """Those that are kept in memory: the last thousand, and of the older ones the last of each alias."""
    old, new = changes[:-MAX_CHANGES], changes[-MAX_CHANGES:]
    recent = {change.alias for change in new}
    last = {change.alias: change for change in old if change.alias not in recent}
    return (*sorted(last.values(), key=lambda change: change.time), *new)


def _moved(decision: Decision, alias: str, number: int, now: float, principal: str) -> Decision:
    model = decision.model
    change = AliasChange(alias, number, model.aliases.get(alias, 0), now, principal)
    aliases = {name: version for name, version in model.aliases.items() if name != alias}
    if number:
        aliases[alias] = number
    changed = replace(model, aliases=aliases, changes=remembered((*model.changes, change)))
    return Decision(alias_moved(changed, alias, now, principal), (*decision.changes, change))


def _no_alias(model: Model, alias: str) -> AliasNotFound:
    there = ", ".join(map(repr, sorted(model.aliases)[:8]))
    text = f"the model {model.name!r} has no alias {alias!r}; it has {there}"
    return AliasNotFound(
        text, resource=("alias", f"{model.name}@{alias}"), metadata={"model": model.name, "alias": alias}
    )


def _means(number: int) -> str:
    return f"version {number}" if number else "nothing"


def _names(model: str, version: int) -> dict[str, str]:
    return {"model": model, "version": str(version)}
