"""What a change of an alias's traffic leaves behind, and what follows for versions and aliases. Decisions only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .state import Model
from .traffic import AliasTraffic, CanaryState, TrafficChange, of_alias

MAX_CHANGES, MAX_WORDS = 30, 600


def changed(model: Model, before: AliasTraffic, after: AliasTraffic, text: str, now: float, principal: str) -> Model:
    """The model with an alias's traffic changed, which is noted: `text` says how."""
    gone = tuple(sorted(versions(before) - versions(after)))
    change = TrafficChange(before.revision + 1, now, principal, text[:MAX_WORDS], gone)
    after = replace(after, revision=change.revision, changes=(*before.changes, change)[-MAX_CHANGES:])
    others = [t for t in model.settings.traffic if t.alias != after.alias and t.alias in model.aliases]
    traffic = tuple(sorted([*others, after], key=lambda traffic: traffic.alias))
    return replace(model, settings=replace(model.settings, traffic=traffic))


def alias_moved(model: Model, alias: str, now: float, principal: str) -> Model:
    """What becomes of an alias's traffic when it has just been moved or taken away: who moves it wants it to mean that.

    The split ends, and the canary; the shadow, too, if it would mirror a version to itself.
    """
    traffic = of_alias(model.settings.traffic, alias)
    meant = model.aliases.get(alias, 0)
    after = replace(traffic, split=None)
    if traffic.running is not None:
        words = f"the alias was made to mean {f'version {meant}' if meant else 'nothing'}"
        after = replace(after, canary=replace(traffic.running, state=CanaryState.STOPPED, explanation=words))
    if traffic.shadow is not None and meant in (0, traffic.shadow.version):
        after = replace(after, shadow=None)
    if after == traffic:
        return model
    return changed(model, traffic, after, "the alias was moved: what was set for it ends", now, principal)


def held(model: Model) -> set[int]:
    """Versions that must stay loaded because some alias's traffic goes to them."""
    found: set[int] = set()
    for traffic in model.settings.traffic:
        found |= versions(traffic)
    return found


def left(model: Model) -> Iterable[tuple[int, float]]:
    """Versions that had a part of some alias's traffic, and until when."""
    for traffic in model.settings.traffic:
        for change in traffic.changes:
            for version in change.left:
                yield version, change.time


def users(model: Model, version: int) -> list[str]:
    """The aliases whose traffic goes to a version, also where they do not mean it."""
    return sorted(traffic.alias for traffic in model.settings.traffic if version in versions(traffic))


def versions(traffic: AliasTraffic) -> set[int]:
    """Versions that an alias's traffic goes to, apart from the one that it means."""
    split = {part.version for part in traffic.split.parts} if traffic.split is not None else set()
    return split | ({traffic.shadow.version} if traffic.shadow is not None else set())
