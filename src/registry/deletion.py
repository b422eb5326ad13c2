"""Whether a version may be taken away, and what its model is without it. Decisions only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from ..errors import FailedPrecondition
from .names import known_version
from .state import Model, Placement, State, Version
from .traffic_changes import users


def delete(model: Model, number: int, workers: Collection[State]) -> Model:
    """The model without the version, whose number it will not give again.

    Args:
        model: as it is.
        number: the version.
        workers: the states of the workers that hold it, or load it.

    Raises:
        InvalidArgument, VersionNotFound: not a version; there is no such version.
        FailedPrecondition: something holds it; the message says what, and how to let go of it.
    """
    version = known_version(model, number)
    for holder in _holders(model, version, workers):
        subject = f"{model.name}:{number}"
        text = f"{subject} cannot be deleted: {holder}"
        raise FailedPrecondition(text, precondition=subject, metadata={"model": model.name, "version": str(number)})
    settings = replace(model.settings, deleted_up_to=max(number, model.settings.deleted_up_to))
    versions = tuple(other for other in model.versions if other is not version)
    return replace(model, versions=versions, settings=settings)


def _holders(model: Model, version: Version, workers: Collection[State]) -> Iterator[str]:
    name, number = model.name, version.number
    for alias in sorted(alias for alias, meant in model.aliases.items() if meant == number):
        yield f"the alias {alias!r} means it; make it mean another version first, or delete the alias"
    for alias in users(model, number):
        yield f"the traffic of the alias {alias!r} goes to it; end its split, shadow or canary first"
    if version.placement is Placement.PINNED:
        yield f"it is pinned; `penstock undeploy {name} --version {number}` first"
    if workers:
        yield f"workers hold it; `penstock undeploy {name} --version {number}` first, and wait until they have ended"
