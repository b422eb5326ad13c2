"""What a model gives is found by running it on zeros: each free dimension is made larger once, to see what follows it.

An output's size that becomes what the dimension became has its name; one that changes otherwise is free, with a name of
its own; all others are taken as fixed. Dimensions of inputs that cannot change alone, only together, are one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...errors import ModelLoadFailed
from ...signature import BATCH, Dim, DType, TensorSpec
from ...tensors import dtype_of
from ...torch_tensors import TORCH, dtype_of_torch
from ..loaded import Value

Run = Callable[[Sequence[Value]], Mapping[str, Value]]
"""The model's inputs in its order → its outputs by name."""

_ROWS = (2, 3)
_LENGTHS = (8, 16)
"""Doubled, since many models take multiples only."""


@dataclass(frozen=True, slots=True)
class Found:
    """Both sides of the model, in its order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """What happened when a free dimension became larger."""

    sizes: tuple[int, int]
    outputs: Mapping[str, Sequence[int]]


def probe(run: Run, inputs: Sequence[TensorSpec], device: str) -> Found:
    """Find out what the model gives.

    Raises:
        ModelLoadFailed: it cannot be run, or an output has not always the same number of dimensions.
    """
    small = {size.name: _sizes(size.name)[0] for spec in inputs for size in spec.shape if isinstance(size, Dim)}
    first = _answer(run, inputs, small, device)
    changes, tied = {}, []
    for name in small:
        try:
            changes[name] = _grown(run, inputs, small, [name], device)
        except ModelLoadFailed:
            if name == BATCH:
                raise
            tied.append(name)
    if tied:  # if they are not one, this fails as it did before
        changes[tied[0]] = _grown(run, inputs, small, tied, device)
    known = [_renamed(spec, {name: tied[0] for name in tied}) for spec in inputs]
    outputs = [TensorSpec(_dtype(key, value), _dims(key, value.shape, changes), key) for key, value in first.items()]
    return Found(tuple(known), tuple(outputs))


def _grown(
    run: Run, inputs: Sequence[TensorSpec], small: Mapping[str, int], names: Sequence[str], device: str
) -> _Change:
    """Run it with some dimensions made larger."""
    sizes = _sizes(names[0])
    after = _answer(run, inputs, {**small, **dict.fromkeys(names, sizes[1])}, device)
    return _Change(sizes, {key: value.shape for key, value in after.items()})


def _renamed(spec: TensorSpec, names: Mapping[str, str]) -> TensorSpec:
    dims = [Dim(names.get(d.name, d.name), d.minimum, d.maximum) if isinstance(d, Dim) else d for d in spec.shape]
    return TensorSpec(spec.dtype, dims, spec.name)


def _sizes(name: str) -> tuple[int, int]:
    return _ROWS if name == BATCH else _LENGTHS


def _answer(run: Run, inputs: Sequence[TensorSpec], sizes: Mapping[str, int], device: str) -> Mapping[str, Value]:
    shapes = [[sizes[d.name] if isinstance(d, Dim) else d for d in spec.shape] for spec in inputs]
    try:
        with torch.inference_mode():
            return run([_zeros(spec, shape, device) for spec, shape in zip(inputs, shapes, strict=True)])
    except ModelLoadFailed:
        raise
    except Exception as error:
        what = ", ".join(f"{spec.name}={shape}" for spec, shape in zip(inputs, shapes, strict=True))
        text = f"the model cannot be run on zeros of {what}: {type(error).__name__}: {str(error).strip()[-200:]}"
        raise ModelLoadFailed(f"{text}; are the inputs declared as it takes them?") from error


def _zeros(spec: TensorSpec, shape: Sequence[int], device: str) -> Value:
    if spec.dtype is DType.BYTES:
        return np.full(shape, b"", object)
    return torch.zeros(tuple(shape), dtype=TORCH[spec.dtype], device=device)


def _dtype(name: str, value: Value) -> DType:
    try:
        return dtype_of_torch(value.dtype) if isinstance(value, torch.Tensor) else dtype_of(value)
    except ValueError as error:
        raise ModelLoadFailed(f"output {name!r}: {error}") from error


def _dims(name: str, shape: Sequence[int], changes: Mapping[str, _Change]) -> list[int | str]:
    for change in changes.values():
        if len(change.outputs.get(name, ())) != len(shape):
            raise ModelLoadFailed(f"output {name!r} has not always {len(shape)} dimensions")
    return [_dim(name, axis, size, changes) for axis, size in enumerate(shape)]


def _dim(name: str, axis: int, size: int, changes: Mapping[str, _Change]) -> int | str:
    following = [(dim, change) for dim, change in changes.items() if change.outputs[name][axis] != size]
    if not following:
        return size
    dim, change = following[0]
    exactly = (size, change.outputs[name][axis]) == change.sizes
    return dim if exactly and len(following) == 1 else f"{name}_{axis}"
