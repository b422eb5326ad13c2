"""The schemas in an MLmodel file as signatures of ours. Decisions only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ModelLoadFailed
from ...signature import BATCH, Dim, DType, TensorSpec

_COLUMNS = {
    "boolean": DType.BOOL,
    "integer": DType.INT32,
    "long": DType.INT64,
    "float": DType.FP32,
    "double": DType.FP64,
    "string": DType.BYTES,
    "binary": DType.BYTES,
}
_ELEMENTS = {
    "bool": DType.BOOL,
    "uint8": DType.UINT8,
    "uint16": DType.UINT16,
    "uint32": DType.UINT32,
    "uint64": DType.UINT64,
    "int8": DType.INT8,
    "int16": DType.INT16,
    "int32": DType.INT32,
    "int64": DType.INT64,
    "float16": DType.FP16,
    "float32": DType.FP32,
    "float64": DType.FP64,
    "object": DType.BYTES,
    "str": DType.BYTES,
    "bytes": DType.BYTES,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One tensor or column."""

    spec: TensorSpec
    key: str | None
    """What MLflow calls it; None: it has no name there."""
    column: bool
    """Of a table, [rows]."""
    text: bool = False
    """str, where the wire has bytes."""


def read_schema(text: str | None, side: str) -> tuple[Field, ...]:
    """The fields of a schema in their order.

    Args:
        text: the JSON in the MLmodel file; None: there is none.
        side: `input` or `output`: what a field without a name is called, with a number if there are several.

    Raises:
        ModelLoadFailed: it cannot be understood, or has a type that tensors do not have.
    """
    if not text:
        return ()
    try:
        entries = json.loads(text)
        return tuple(_field(entry, _name(entry, side, index, len(entries))) for index, entry in enumerate(entries))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadFailed(f"the {side} schema in MLmodel cannot be understood: {error!r:.200}") from error


def _name(entry: Mapping[str, Any], side: str, index: int, count: int) -> str:
    name = entry.get("name")
    return str(name) if name is not None else side if count == 1 else f"{side}_{index}"


def _field(entry: Mapping[str, Any], name: str) -> Field:
    key = None if entry.get("name") is None else str(entry["name"])
    if entry["type"] == "tensor":
        said = entry["tensor-spec"]
        dtype = _known(_ELEMENTS, said["dtype"], name)
        return Field(
            TensorSpec(dtype, _dims(said["shape"], name), name), key, column=False, text=said["dtype"] == "str"
        )
    dtype = _known(_COLUMNS, entry["type"], name)
    return Field(TensorSpec(dtype, [BATCH], name), key, column=True, text=entry["type"] == "string")


def _known(types: Mapping[str, DType], wanted: object, name: str) -> DType:
    if wanted not in types:
        raise ModelLoadFailed(f"{name!r} has the type {str(wanted)[:40]}; tensors are made of {', '.join(types)}")
    return types[str(wanted)]


def _dims(shape: Sequence[int], name: str) -> list[int | Dim]:
    """-1 is a free dimension, and the batch where it stands first."""
    free = [Dim(BATCH), *(Dim(f"{name}_{axis}") for axis in range(1, len(shape)))]
    return [free[axis] if size == -1 else size for axis, size in enumerate(shape)]
