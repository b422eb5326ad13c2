"""From what the model gave to each job's answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ...tensors import Array
from ...torch_tensors import from_torch
from ..job import Outcome, Outputs
from ..loaded import Loaded, Value
from .faults import as_model_error
from .joining import Joined
from .piece import Piece


class Cutting:
    """Called from the model's thread, or from the one that waits for answers."""

    def __init__(self, loaded: Loaded) -> None:
        self._outputs = loaded.signature.outputs
        self._layout = loaded.layout
        self._batch = bool(loaded.signature.batch)

    def outcomes(self, values: Sequence[Value], joined: Joined, pieces: Sequence[Piece]) -> list[Outcome]:
        """Each job's outputs, encoded if it wants that. What comes out no longer shares memory with the batch.

        Raises:
            Exception: what the model gave is not what it should have given.
        """
        if any(piece.job.encode is None for piece in pieces):
            parts = self.outputs(values, joined, pieces)
        else:
            parts = list(self._cut([_to_array(value) for value in values], joined, pieces))
        return [_answer(piece, outputs) for piece, outputs in zip(pieces, parts, strict=True)]

    def outputs(self, values: Sequence[Value], joined: Joined, pieces: Sequence[Piece]) -> list[Outputs]:
        """Each job's outputs, copied: the model may use its memory for the next answer while this one is being sent.

        Raises:
            Exception: what the model gave is not what it should have given.
        """
        return list(self._cut([_to_array(value).copy() for value in values], joined, pieces))

    def _cut(self, arrays: Sequence[Array], joined: Joined, pieces: Sequence[Piece]) -> Iterator[Outputs]:
        """Each job's rows of each output. A job without a batch dimension is alone and gets all."""
        if not self._batch:
            yield arrays
            return
        self._check(arrays, joined)
        at = 0
        for piece in pieces:
            yield self._part(arrays, slice(at, at + piece.rows), piece)
            at += piece.rows

    def _part(self, arrays: Sequence[Array], rows: slice, piece: Piece) -> Outputs:
        if self._layout is None:
            return [array[rows] for array in arrays]
        lengths = self._layout.lengths(piece.inputs)
        return [
            array[(rows, *self._layout.cut(spec, lengths))] for spec, array in zip(self._outputs, arrays, strict=True)
        ]

    def _check(self, arrays: Sequence[Array], joined: Joined) -> None:
        if any(array.ndim == 0 or len(array) != joined.rows for array in arrays):
            shapes = [list(array.shape) for array in arrays]
            raise ValueError(f"{joined.rows} rows went in, and outputs of shapes {shapes} came out")
        if self._layout is None:
            return
        for spec, array in zip(self._outputs, arrays, strict=True):
            if not self._layout.fits(spec, joined.lengths, array.shape):
                text = f"in a batch filled up to {joined.lengths} it has the shape {list(array.shape)}"
                raise ValueError(f"output {spec.name!r} should be {spec}; {text}")


def _to_array(value: Value) -> Array:
    """In host memory, not copied if it is there already."""
    if isinstance(value, torch.Tensor):
        return from_torch(value)[0]
    array = np.asarray(value)
    return _to_bytes(array) if array.dtype.kind in "SUO" else array


def _to_bytes(array: Array) -> Array:
    """Text as UTF-8. Other objects have no bytes: what gave them is wrong."""
    flat = np.empty(array.size, object)
    flat[:] = [text.encode() if isinstance(text, str) else text for text in array.ravel()]
    for element in flat:
        if not isinstance(element, bytes):
            raise TypeError(f"an output of BYTES must hold bytes or str, not {type(element).__name__}")
    return flat.reshape(array.shape)


def _answer(piece: Piece, outputs: Outputs) -> Outcome:
    """The outputs as the job wants them. What cannot be encoded is one job's trouble."""
    if piece.job.encode is None:
        return outputs
    try:
        return piece.job.encode(outputs)
    except Exception as error:
        return as_model_error(error)
