"""Whether names and version numbers are well formed, and whether what they name exists. Decisions only."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from ..errors import InvalidArgument, ModelNotFound, VersionNotFound, Violation
from .state import Model, Version

MAX_VERSION = 10**12
NAME_RULE = (
    "lower case letters, digits, '.', '_' and '-', at most 128, beginning with a letter or a digit, without '..'"
)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def is_name(text: str) -> bool:
    """Whether a model or an alias may be called so."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def name_violations(field: str, text: str) -> list[Violation]:
    """What is wrong with a name; nothing if it is good."""
    return [] if is_name(text) else [Violation(field, f"{quoted(text)} is not a name: {NAME_RULE}")]


def version_violations(field: str, number: int) -> list[Violation]:
    """What is wrong with a version number; nothing if it is good."""
    if 1 <= number <= MAX_VERSION:
        return []
    return [Violation(field, f"{number} is not a version: it must be from 1 to {MAX_VERSION}")]


def worker_id_violations(field: str, text: str) -> list[Violation]:
    """What is wrong with a worker's id; nothing if it is good."""
    if _WORKER_ID.fullmatch(text):
        return []
    rule = "letters, digits, '.', '_', ':' and '-', at most 128"
    return [Violation(field, f"{quoted(text)} is not a worker's id: {rule}")]


def refuse(violations: Iterable[Violation]) -> None:
    """Raise InvalidArgument with all of them, if there are any; the message is the first one's."""
    found = list(violations)[:16]
    if found:
        raise InvalidArgument(f"{found[0].field}: {found[0].description}", violations=found)


def quoted(text: str) -> str:
    """A caller's text as it may stand in a message or a log: short, on one line, without control characters."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")


def known_model(models: Mapping[str, Model], name: str) -> Model:
    """The model of that name.

    Raises:
        InvalidArgument: it is not a name.
        ModelNotFound: there is none; the message lists what it may have been meant.
    """
    refuse(name_violations("name", name))
    model = models.get(name)
    if model is None:
        text = f"there is no model {name!r}{_nearest(name, models)}"
        raise ModelNotFound(text, resource=("model", name), metadata={"model": name})
    return model


def _nearest(name: str, models: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, models, n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else "; `penstock status` lists those there are"


def known_version(model: Model, number: int) -> Version:
    """The version of that number.

    Raises:
        InvalidArgument: it is not a positive number.
        VersionNotFound: the model has none; the message lists the newest ones.
    """
    refuse(version_violations("version", number))
    version = model.version(number)
    if version is None:
        there = ", ".join(str(v.number) for v in model.versions[-5:])
        text = f"the model {model.name!r} has no version {number}; the newest are {there}"
        metadata = {"model": model.name, "version": str(number)}
        raise VersionNotFound(text, resource=("version", f"{model.name}:{number}"), metadata=metadata)
    return version
