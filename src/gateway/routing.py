"""From what a request asks for to the version that answers it, or to the reason why none does. Decisions only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum, auto

from ..errors import (
    AliasNotFound,
    ModelLoadFailed,
    ModelLoading,
    ModelNotDeployed,
    ModelNotFound,
    NoLiveWorker,
    PenstockError,
    VersionNotFound,
)
from .splitting import Rules

RULED = 0
"""Stands for the version that an alias means where its requests are split or mirrored."""


class State(Enum):
    """What matters of a version's state when no worker can be picked."""

    LOADING = auto()
    SERVING = auto()
    FAILED = auto()
    ASLEEP = auto()
    """It is loaded when it is asked for."""
    UNDEPLOYED = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """One model: what its aliases mean, and the state of each version."""

    aliases: Mapping[str, int] = field(default_factory=dict)
    """RULED: that one has rules, which are looked for only then."""
    versions: Mapping[int, State] = field(default_factory=dict)
    single: frozenset[int] = frozenset()
    """Versions that cannot be batched."""
    on_demand: frozenset[int] = frozenset()
    """Versions that are loaded when they are asked for."""
    rules: Mapping[str, Rules] = field(default_factory=dict)
    """Of the aliases whose requests are split or mirrored."""

    def means(self, alias: str) -> int | None:
        """The version that an alias means, whatever its split says; None: there is no such alias."""
        return self.rules[alias].own if alias in self.rules else self.aliases.get(alias)


def resolve(
    routes: Mapping[str, Route], name: str, version: int, alias: str, visible: Callable[[str], bool] = lambda name: True
) -> int:
    """The version that shall answer; RULED: the alias's rules say. Resolved once per request: retries stay on it.

    Args:
        routes: by model name.
        name: the model.
        version: 0: what the alias means.
        alias: used if version is 0.
        visible: which models may be named in a hint.

    Raises:
        ModelNotFound, VersionNotFound, AliasNotFound: it does not exist.
    """
    route = routes.get(name)
    if route is None:
        near = get_close_matches(name, [known for known in routes if visible(known)][:10_000], 3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "; `penstock status` lists the models"
        raise ModelNotFound(f"there is no model {name!r}{hint}", resource=("model", name), metadata={"model": name})
    if not version:
        found = route.aliases.get(alias)
        if found is None:
            text = f"model {name!r} has no alias {alias!r}; it has {_listed(route.aliases)}"
            raise AliasNotFound(text, resource=("alias", f"{name}/{alias}"), metadata={"model": name})
        return found
    if version not in route.versions:
        text = f"model {name!r} has no version {version}; it has {_listed(route.versions)}"
        raise VersionNotFound(text, resource=("version", f"{name}/{version}"), metadata={"model": name})
    return version


def _listed(things: Mapping[str, int] | Mapping[int, State]) -> str:
    names = [str(thing) for thing in sorted(things)]
    return ", ".join(names[-8:]) or "none"


def is_expected(routes: Mapping[str, Route], name: str, version: int) -> bool:
    """Whether a worker may appear in a moment, so that waiting for it makes sense."""
    route = routes.get(name)
    return route is not None and route.versions.get(version) in (State.SERVING, State.LOADING, State.ASLEEP)


def is_on_demand(routes: Mapping[str, Route], name: str, version: int) -> bool:
    """Whether the version is loaded when it is asked for."""
    route = routes.get(name)
    return route is not None and version in route.on_demand


def why_unavailable(routes: Mapping[str, Route], name: str, version: int) -> PenstockError:
    """The error for a version that no worker answers for at the moment."""
    route = routes.get(name)
    state = route.versions.get(version) if route else None
    what, facts = f"version {version} of model {name!r}", {"model": name, "version": str(version)}
    if state in (State.LOADING, State.ASLEEP):
        return ModelLoading(f"{what} is being loaded; try again", metadata=facts)
    if state is State.FAILED:
        text = f"{what} could not be loaded; `penstock status {name}` has the reason"
        return ModelLoadFailed(text, precondition=f"models/{name}/versions/{version}", metadata=facts)
    if state is State.SERVING:
        return NoLiveWorker(f"no worker answers for {what} at the moment; one is being started", metadata=facts)
    text = f"{what} is not deployed; `penstock deploy {name} --version {version}` loads it"
    return ModelNotDeployed(text, precondition=f"models/{name}/versions/{version}", metadata=facts)
