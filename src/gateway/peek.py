"""Which model a request is for, read from its bytes in about a microsecond whatever its size.

ModelSpec is field 1 of every request that names a model, so it stands in front and the tensors behind it are never
read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError

from penstock.v1 import model_pb2

from ..errors import InvalidArgument, MalformedRequest, Violation
from .wire import field

DEFAULT_ALIAS = "stable"
_REMEMBERED_BYTES = 300  # name and alias take 264; what callers pad with unknown fields must not fill the memory
_NAME = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request asks for: a version, or an alias (then `version` is 0)."""

    name: str
    version: int = 0
    alias: str = DEFAULT_ALIAS


def target(request: bytes) -> Target:
    """Read field 1 of a request.

    Raises:
        MalformedRequest: these bytes are not a protobuf message.
        InvalidArgument: there is no legal model name, alias or version.
    """
    spec = field(request, 1) or b""
    return _remembered(spec) if len(spec) <= _REMEMBERED_BYTES else _parsed(spec)


def _parsed(spec: bytes) -> Target:
    try:
        return from_message(model_pb2.ModelSpec.FromString(spec))
    except DecodeError:
        raise MalformedRequest("model_spec is not a ModelSpec; generate stubs from the served protos") from None


_remembered = lru_cache(4096)(_parsed)
"""Callers send the same few bytes again and again."""


def from_message(spec: model_pb2.ModelSpec) -> Target:
    """The target that a message names; raises InvalidArgument if it is not legal."""
    _check("model_spec.name", spec.name)
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        if spec.version < 1:
            raise _invalid("model_spec.version", f"a version is a positive number, got {spec.version}")
        return Target(spec.name, spec.version, "")
    alias = spec.alias if choice == "alias" else DEFAULT_ALIAS
    _check("model_spec.alias", alias)
    return Target(spec.name, 0, alias)


def _check(path: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        rule = "lower case letters, digits, '.', '_' and '-', at most 128, a letter or digit first, no '..'"
        raise _invalid(path, f"{name[:40]!r} is not a legal name: {rule}")


def _invalid(path: str, text: str) -> InvalidArgument:
    return InvalidArgument(f"{path}: {text}", violations=[Violation(path, text)])
