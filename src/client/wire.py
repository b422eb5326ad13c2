"""The bytes of a question around the elements of its tensors, remembered for questions that look the same.

Most callers ask the same model with the same names and shapes again and again; then only the elements are new, and no
message object is built. What is made here is, byte for byte, what protobuf makes.
"""

from __future__ import annotations

from functools import lru_cache

from penstock.v1 import model_pb2, tensor_pb2
from penstock.v1 import predict_pb2 as pb

_INPUT, _RAW = b"\x12", b"\x22"  # PredictRequest.inputs and Tensor.raw
_TICKS = 10_000

Form = tuple[str, int, tuple[int, ...], int]
"""A tensor without its elements: name, element type as a number, shape, and how many bytes the elements take."""


def model_spec(model: str, version: int | None = None, alias: str | None = None) -> model_pb2.ModelSpec:
    """Which version of which model; with neither version nor alias, what the alias `stable` means.

    Raises:
        ValueError: both are given.
    """
    if version is not None and alias is not None:
        raise ValueError(f"give a version or an alias of {model!r}, not both: got {version} and {alias!r}")
    spec = model_pb2.ModelSpec(name=model)
    if version is not None:
        spec.version = version
    if alias is not None:
        spec.alias = alias
    return spec


@lru_cache(1024)
def around(
    model: str, version: int | None, alias: str | None, outputs: tuple[str, ...], forms: tuple[Form, ...]
) -> tuple[bytes, ...]:
    """What stands before, between and behind the elements of each tensor in a PredictRequest.

    Raises:
        ValueError: version and alias are both given.
    """
    before = pb.PredictRequest(model_spec=model_spec(model, version, alias)).SerializeToString()
    parts = []
    for name, dtype, shape, size in forms:
        tensor = tensor_pb2.Tensor(name=name, dtype=dtype, shape=shape)  # type: ignore[arg-type]
        header = tensor.SerializeToString() + (_RAW + varint(size) if size else b"")
        parts.append(before + _INPUT + varint(len(header) + size) + header)
        before = b""
    return (*parts, before + pb.PredictRequest(output_names=outputs).SerializeToString())


def duration(seconds: float) -> bytes:
    """A google.protobuf.Duration, to a tenth of a millisecond and never 0."""
    return _duration(max(round(seconds * _TICKS), 1))


@lru_cache(1024)
def _duration(ticks: int) -> bytes:
    seconds, rest = divmod(ticks, _TICKS)
    nanos = rest * (1_000_000_000 // _TICKS)
    return (b"\x08" + varint(seconds) if seconds else b"") + (b"\x10" + varint(nanos) if nanos else b"")


def varint(value: int) -> bytes:
    """A number that is not negative, seven bits to a byte."""
    if value < 0x80:
        return value.to_bytes()
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
