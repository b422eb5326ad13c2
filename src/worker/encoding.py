"""From a model's outputs to the bytes of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.v1 import model_pb2
from penstock.v1 import predict_pb2 as pb

from ..signature import DType, TensorSpec
from ..tensors import STORAGE, Array, Form, encode
from .job import Job, Outputs
from .templates import MAX_LITERAL_BYTES, literals, raw_places

_MOST = 256

Shapes = tuple[tuple[int, ...], ...]


class Encoder:
    """Makes the PredictResponse (or GenerateResponse, which has the same bytes) for a choice of outputs in one form.

    Raw answers of the same shapes differ in their elements only: protobuf writes the first one, of the others only what
    stands around the elements is taken from it. Pure, so that any thread may call it.

    Args:
        model: who answers.
        wanted: the outputs, each with its place in the signature.
        form: how elements are written.
    """

    def __init__(self, model: model_pb2.ModelSpec, wanted: Sequence[tuple[int, TensorSpec]], form: Form) -> None:
        self._model = model
        self._wanted = tuple(wanted)
        self._form = form
        self._storages = [STORAGE[spec.dtype] for _, spec in self._wanted]
        self._learns = form is Form.RAW and all(spec.dtype is not DType.BYTES for _, spec in self._wanted)
        self._around: dict[Shapes, list[bytes]] = {}
        """By the outputs' shapes what stands before, between and after their elements."""

    def __call__(self, outputs: Outputs) -> bytes:
        """The answer's bytes: exactly those that protobuf would write."""
        arrays = [outputs[index] for index, _ in self._wanted]
        if not self._learns:
            return self._message(arrays).SerializeToString()
        shapes = tuple([array.shape for array in arrays])
        around = self._around.get(shapes)
        if around is None:
            return self._learned(arrays, shapes)
        parts: list[Any] = [around[0]]
        for array, storage, after in zip(arrays, self._storages, around[1:], strict=True):
            plain = array.dtype == storage and array.flags.c_contiguous
            parts += (array if plain else np.ascontiguousarray(array, storage), after)
        return b"".join(parts)

    def _learned(self, arrays: Sequence[Array], shapes: Shapes) -> bytes:
        message = self._message(arrays).SerializeToString()
        places = raw_places(message)
        if places is not None and len(places) == len(arrays):  # an output without elements has no `raw`
            around = [literal for _, literal in literals(message, places)]
            if sum(map(len, around)) <= MAX_LITERAL_BYTES:
                if len(self._around) >= _MOST:
                    self._around.clear()
                self._around[shapes] = around
        return message

    def _message(self, arrays: Sequence[Array]) -> pb.PredictResponse:
        tensors = [
            encode(spec.name, array, spec.dtype, self._form)
            for (_, spec), array in zip(self._wanted, arrays, strict=True)
        ]
        return pb.PredictResponse(model_spec=self._model, outputs=tensors)


def response(job: Job) -> bytes:
    """The answer of a job that has outputs, if the executor has not made it already."""
    if job.encoded is not None:
        return job.encoded
    assert job.encode is not None
    return job.encode(job.outputs or ())
