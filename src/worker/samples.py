"""Inputs for a model before its first caller: made from its signature, or published with the version."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..signature import BATCH, Dim, DType, Signature, TensorSpec
from ..tensors import STORAGE, Array, stored

_FREE_SIZE = 8
"""What an unbounded free dimension is taken to be."""


_FLOATS = (DType.FP16, DType.BF16, DType.FP32, DType.FP64)


class Samples:
    """Inputs of as many rows as are asked for.

    Args:
        signature: of the model, as callers see it.
        given: one array for each input, of at least one row; None: made from the signature.
    """

    def __init__(self, signature: Signature, given: Sequence[Array] | None = None) -> None:
        self._signature, self._given = signature, given
        self.made = given is None
        """They are made up: a model may refuse them."""

    def rows(self, rows: int) -> list[Array]:
        """Inputs of so many rows; those that were given are repeated. Without a batch dimension: as they are."""
        if self._given is None:
            return sample(self._signature, rows)
        if not self._signature.batch:
            return list(self._given)
        return [array[np.arange(rows) % len(array)] for array in self._given]

    def varied(self, rows: int) -> list[Array]:
        """The same, but where they are made up, floats differ from row to row: zeros would hide what is mixed up."""
        arrays = self.rows(rows)
        if not self.made:
            return arrays
        random = np.random.default_rng(0)
        return [
            _as(random.standard_normal(array.shape, np.float32), spec.dtype) if spec.dtype in _FLOATS else array
            for spec, array in zip(self._signature.inputs, arrays, strict=True)
        ]

    def __str__(self) -> str:
        return "zeros" if self.made else "the inputs that were published with it"


def _as(values: Array, dtype: DType) -> Array:
    return stored(values if dtype is DType.BF16 else values.astype(STORAGE[dtype]), dtype)


def sample(signature: Signature, rows: int) -> list[Array]:
    """Inputs of zeros, or of empty BYTES, that fit the signature."""
    return [_zeros(spec, _shape(spec, rows)) for spec in signature.inputs]


def _zeros(spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    return np.full(shape, b"", object) if spec.dtype is DType.BYTES else np.zeros(shape, STORAGE[spec.dtype])


def _shape(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    return tuple(rows if isinstance(d, Dim) and d.name == BATCH else _size(d) for d in spec.shape)


def _size(dim: int | Dim) -> int:
    if isinstance(dim, int):
        return dim
    size = max(dim.minimum, _FREE_SIZE)
    return size if dim.maximum is None else min(size, dim.maximum)
