"""What a change has made different, in words. Decisions only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from .state import Model, Version

MAX_TEXT = 2000


def differences(before: Model | None, after: Model) -> str:
    """All that an operator can change of a model, and that is different; for a person, and not endless."""
    known = {version.number: version for version in before.versions} if before else {}
    parts = [
        *_aliases(before.aliases if before else {}, after.aliases),
        *(f"version {number} is deleted" for number in sorted(known.keys() - {v.number for v in after.versions})),
        *(part for version in after.versions for part in _version(known.get(version.number), version)),
        *(_values("", before.settings, after.settings) if before else ()),
        *(_traffic(before, after) if before else ()),
    ]
    return "; ".join(parts)[:MAX_TEXT]


def _aliases(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    for alias in sorted(before.keys() | after.keys()):
        was, now = before.get(alias), after.get(alias)
        if was != now:
            yield f"{alias}: {was or 'nothing'} -> {now or 'nothing'}"


def _version(before: Version | None, after: Version) -> Iterator[str]:
    if before is None:
        yield f"version {after.number} is new"
        return
    for name in ("placement", "instances", "device"):
        yield from _values(f"version {after.number} {name}", getattr(before, name), getattr(after, name))


def _traffic(before: Model, after: Model) -> Iterator[str]:
    known = {traffic.alias: traffic.revision for traffic in before.settings.traffic}
    for traffic in after.settings.traffic:
        new = (change for change in traffic.changes if change.revision > known.get(traffic.alias, 0))
        yield from (f"{traffic.alias}: {change.change}" for change in new)


def _values(name: str, before: Any, after: Any) -> Iterator[str]:
    """Of a record each field that differs, however deep."""
    if before == after or name == "traffic":
        return
    if is_dataclass(before) and type(before) is type(after):
        for field in fields(before):
            path = f"{name}.{field.name}" if name else field.name
            yield from _values(path, getattr(before, field.name), getattr(after, field.name))
    else:
        yield f"{name}: {_text(before)} -> {_text(after)}"


def _text(value: Any) -> str:
    if value in ("", None):
        return "not set"
    return value.name if isinstance(value, Enum) else str(value)
