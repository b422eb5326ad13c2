"""What an ONNX model says of its shapes, and what a signature makes of it. Decisions only.

A dimension is a number, a name (one name, one size), or open: then nothing is known of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import ModelLoadFailed
from ...signature import BATCH, Dim, DType, TensorSpec

Size = int | str | None

_MADE_UP = re.compile(r"unk__[0-9]+")
"""What some exporters call each dimension of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An input or output of a model."""

    name: str
    dtype: DType
    shape: tuple[Size, ...]


def input_specs(inputs: Sequence[Argument]) -> tuple[TensorSpec, ...]:
    """The model's inputs; `batch` is the free dimension that all have first, of one name or of none."""
    batch = _batch(inputs)
    specs = []
    for argument in inputs:
        dims = [_free(argument, axis, size) for axis, size in enumerate(argument.shape)]
        specs.append(TensorSpec(argument.dtype, [BATCH, *dims[1:]] if batch else dims, argument.name))
    return tuple(specs)


def _batch(inputs: Sequence[Argument]) -> bool:
    first = [argument.shape[0] if argument.shape else 0 for argument in inputs]
    names = {name for name in map(_name, first) if name}
    elsewhere = {size for argument in inputs for size in argument.shape[1:]}
    return bool(first) and not any(isinstance(size, int) for size in first) and len(names) < 2 and not names & elsewhere


def _name(size: Size) -> str | None:
    return size if isinstance(size, str) and not _MADE_UP.fullmatch(size) else None


def _free(argument: Argument, axis: int, size: Size) -> int | str:
    return size if isinstance(size, int) else _name(size) or f"{argument.name}_{axis}"


def narrowed(specs: Sequence[TensorSpec], declared: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The model's inputs with what is declared: sizes of what is free, and names. One name of the model stays one.

    Raises:
        ModelLoadFailed: the model has no such input, or another one.
    """
    said = {spec.name: spec for spec in declared}
    unknown = said.keys() - {spec.name for spec in specs}
    if unknown:
        raise ModelLoadFailed(f"{sorted(unknown)} are declared, and the model takes {[spec.name for spec in specs]}")
    known: dict[str, int | Dim] = {}
    for spec in specs:
        for size, wanted in zip(spec.shape, said.get(spec.name, spec).shape, strict=False):
            if isinstance(size, Dim):
                known.setdefault(size.name, wanted)
    return tuple(_narrowed(spec, said.get(spec.name, spec), known) for spec in specs)


def _narrowed(spec: TensorSpec, said: TensorSpec, known: Mapping[str, int | Dim]) -> TensorSpec:
    if not spec.shape and spec.dtype == said.dtype:
        return said  # the model leaves the number of dimensions open, too
    fits = len(spec.shape) == len(said.shape) and not any(
        isinstance(wanted, int) and (known[size.name] if isinstance(size, Dim) else size) != wanted
        for size, wanted in zip(spec.shape, said.shape, strict=True)
    )
    if spec.dtype != said.dtype or not fits:
        raise ModelLoadFailed(f"input {spec.name!r} is declared {said}, and the model takes {spec}")
    return TensorSpec(spec.dtype, [known[d.name] if isinstance(d, Dim) else d for d in spec.shape], spec.name)


def meanings(inputs: Sequence[Argument], specs: Sequence[TensorSpec]) -> dict[str, int | Dim]:
    """What the model's own names of dimensions are in the signature."""
    return {
        size: dim
        for argument, spec in zip(inputs, specs, strict=True)
        for size, dim in zip(argument.shape, spec.shape, strict=False)
        if isinstance(size, str)
    }


def is_open(output: Argument, known: Mapping[str, int | Dim]) -> bool:
    """Whether the output has to be looked at to know its shape. One that seems to be a scalar may be anything."""
    return not output.shape or any(not isinstance(size, int) and size not in known for size in output.shape)


def output_spec(output: Argument, known: Mapping[str, int | Dim], found: TensorSpec | None) -> TensorSpec:
    """An output, with what was found by running the model where the model itself leaves it open.

    What the model calls free stays free, even if it did not change.
    """
    shape: Sequence[Size | Dim] = output.shape or (found.shape if found else ())
    dims: list[int | str | Dim] = []
    for axis, size in enumerate(shape):
        seen = found.shape[axis] if found is not None else 0
        if isinstance(size, (int, Dim)):
            dims.append(size)
        elif size is not None and size in known:
            dims.append(known[size])
        else:
            dims.append(seen if isinstance(seen, Dim) else f"{output.name}_{axis}")
    return TensorSpec(output.dtype, dims, output.name)
