"""Which model a request is for and how many rows it has, read from its first bytes: a microsecond whatever its size.

ModelSpec is field 1 of every request that names a model, so it stands in front; the first input's shape stands before
its elements, which are never read.
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
_SPEC, _INPUT = 0x0A, 0x12
"""The first bytes of PredictRequest's `model_spec` and `inputs`."""
_NAME, _DTYPE, _SHAPE = 0x0A, 0x10, 0x1A
"""The first bytes of Tensor's fields; those of the elements come after them."""
_MAX_SHIFT = 28
_REMEMBERED_BYTES = 300  # name and alias take 264; what callers pad with unknown fields must not fill the memory
_LEGAL = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,127}")


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
    if len(request) > 1 and request[0] == _SPEC and (end := request[1] + 2) <= min(len(request), 129):
        return _remembered(request[2:end])  # as all callers write it
    spec = field(request, 1) or b""
    return _remembered(spec) if len(spec) <= _REMEMBERED_BYTES else _parsed(spec)


def rows(request: bytes) -> int:
    """The first size in the first input's shape; 1 where it cannot be told from the request's first bytes.

    Right for what serializers write, and for nothing else: whoever counts by it must not rely on it.
    """
    try:
        at = 0
        if request[0] == _SPEC:
            at = _behind(request, 0)
        if request[at] != _INPUT:
            return 1
        at += 1
        while request[at] > 0x7F:  # how long the tensor is
            at += 1
        at += 1
        if request[at] == _NAME:
            at = _behind(request, at)
        if request[at] == _DTYPE:
            at += 2
        if request[at] != _SHAPE:
            return 1
        at += 2
        size, shift = request[at] & 0x7F, 7
        while request[at] > 0x7F and shift < _MAX_SHIFT:
            at += 1
            size |= (request[at] & 0x7F) << shift
            shift += 7
    except IndexError:
        return 1
    return max(1, min(size, len(request)))


def _behind(request: bytes, at: int) -> int:
    """Where the field that begins here ends."""
    length = request[at + 1]
    if length < 0x80:
        return at + 2 + length
    return at + 3 + (length & 0x7F | request[at + 2] << 7) if request[at + 2] < 0x80 else len(request)


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
    if not _LEGAL.fullmatch(name):
        rule = "lower case letters, digits, '.', '_' and '-', at most 128, a letter or digit first, no '..'"
        raise _invalid(path, f"{name[:40]!r} is not a legal name: {rule}")


def _invalid(path: str, text: str) -> InvalidArgument:
    return InvalidArgument(f"{path}: {text}", violations=[Violation(path, text)])
