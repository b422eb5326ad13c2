"""From the bytes of a request to arrays that fit the model.

What a request says besides its elements is read and checked once for each layout (see `templates`); later requests of
the layout become views over their own bytes, without protobuf and without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from penstock.v1 import model_pb2, tensor_pb2
from penstock.v1 import predict_pb2 as pb

from ..errors import InvalidTensor, MalformedRequest, ServableIsGenerator, Violation
from ..signature import MAX_VIOLATIONS, DType, Fit, Signature, TensorShape, TensorSpec, fit
from ..tensors import Array, Form, decode, form_of, shape_of
from .encoding import Encoder
from .job import Job
from .templates import Message, Templates, raw_places

_MOST = 1024
_MOST_NAMES = 64

Key = Callable[[Sequence[Array]], Hashable]
"""Requests with arrays of equal keys can run together."""
J = TypeVar("J", bound=Job)
_View = tuple[tuple[int, ...], "np.dtype[Any]", int]
"""Shape, storage, and where the elements begin."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a request says, apart from its elements. Shared by all requests that say the same."""

    rows: int
    """What it adds to a batch."""
    key: Hashable
    encode: Encoder
    """Makes the answer."""
    views: tuple[_View, ...] = ()


class Intake:
    """Knows one version. Belongs to the event loop.

    Args:
        name: of the model.
        version: of the model.
        signature: what callers must send.
        key: which requests can run together; of no concern if the signature has no batch dimension.
        generator: the model answers many times.
    """

    def __init__(
        self,
        name: str,
        version: int,
        signature: Signature,
        key: Key,
        *,
        generator: bool = False,
    ) -> None:
        self.batched = bool(signature.batch)
        """The first dimension of every array is the rows."""
        self._model = model_pb2.ModelSpec(name=name, version=version)
        self._signature = signature
        self._outputs = {spec.name: (index, spec) for index, spec in enumerate(signature.outputs)}
        self._key = key
        self.generator = generator
        """The model is asked by Generate."""
        self._has_bytes = any(spec.dtype is DType.BYTES for spec in signature.inputs)
        self._templates: Templates[Reading] = Templates()
        self._fits: dict[tuple[TensorShape, ...], Fit] = {}
        self._encoders: dict[tuple[tuple[str, ...], Form], Encoder] = {}

    def job(
        self,
        kind: type[J],
        request: Message,
        deadline: float,
        *,
        priority: int = 0,
        suspect: bool = False,
        arrived: float | None = None,
    ) -> J:
        """A job that answers a PredictRequest. See `read` for what it raises, and Job for the arguments.

        Raises:
            ServableIsGenerator: the model is asked by Generate.
        """
        if self.generator:
            raise ServableIsGenerator("this model answers many times; call Generate, or the client's generate()")
        inputs, reading = self.read(request)
        return kind(
            inputs,
            reading.rows,
            reading.key,
            deadline,
            batched=self.batched,
            priority=priority,
            suspect=suspect,
            size=len(request),
            arrived=arrived,
            encode=reading.encode,
        )

    def read(self, request: Message) -> tuple[Sequence[Array], Reading]:
        """A PredictRequest (or GenerateRequest, which has the same bytes).

        Returns:
            The inputs in the signature's order, and the rest. The inputs may be views over `request`, which then must
            not change.

        Raises:
            MalformedRequest: these bytes are no such message.
            InvalidTensor: it does not fit the signature; all that is wrong is in its violations.
        """
        known = self._templates.find(request)
        if known is not None:
            return [np.ndarray(shape, storage, request, offset) for shape, storage, offset in known.views], known
        return self._parsed(request)

    def _parsed(self, request: Message) -> tuple[Sequence[Array], Reading]:
        try:
            message = pb.PredictRequest.FromString(request)  # type: ignore[arg-type]  # a memoryview will do
        except DecodeError:
            text = "the request is not a PredictRequest; generate stubs from the served protos"
            raise MalformedRequest(text) from None
        form = form_of(message.inputs)
        encoder = self._encoder(tuple(message.output_names), form)
        checked = self._checked([shape_of(tensor) for tensor in message.inputs])
        inputs = self._decoded(message.inputs, checked.order)
        batched = self.batched
        reading = Reading(checked.rows if batched else 1, self._key(inputs) if batched else None, encoder)
        if form is Form.RAW and not self._has_bytes:
            self._learn(request, reading, inputs, checked.order)
        return inputs, reading

    def _learn(self, request: Message, reading: Reading, inputs: Sequence[Array], order: Sequence[int]) -> None:
        places = raw_places(request)
        if places is None or len(places) != len(inputs):
            return
        mine = [places[index] for index in order]
        if all(request[begin:end] == array.tobytes() for (begin, end), array in zip(mine, inputs, strict=True)):
            views = tuple((array.shape, array.dtype, begin) for (begin, _), array in zip(mine, inputs, strict=True))
            self._templates.learn(request, places, Reading(reading.rows, reading.key, reading.encode, views))

    def _checked(self, tensors: Sequence[TensorShape]) -> Fit:
        shapes = tuple(tensors)
        known = self._fits.get(shapes)
        if known is not None:
            return known
        checked = fit(self._signature, shapes)
        _refuse_if(checked.violations)
        if len(self._fits) >= _MOST:
            self._fits.clear()
        self._fits[shapes] = checked
        return checked

    def _decoded(self, tensors: Sequence[tensor_pb2.Tensor], order: Sequence[int]) -> list[Array]:
        arrays: list[Array] = []
        violations: list[Violation] = []
        for index, spec in zip(order, self._signature.inputs, strict=True):
            try:
                arrays.append(decode(tensors[index], spec.dtype, f"inputs[{index}]"))
            except InvalidTensor as error:
                violations.extend(error.violations)
        _refuse_if(violations)
        return arrays

    def _encoder(self, names: tuple[str, ...], form: Form) -> Encoder:
        known = self._encoders.get((names, form))
        if known is not None:
            return known
        made = Encoder(self._model, self._wanted(names), form)
        if len(names) <= _MOST_NAMES:
            if len(self._encoders) >= _MOST:
                self._encoders.clear()
            self._encoders[names, form] = made
        return made

    def _wanted(self, names: Sequence[str]) -> list[tuple[int, TensorSpec]]:
        """The outputs asked for, with their places in the signature."""
        every = self._outputs
        if not names:
            return list(every.values())
        known = ", ".join(map(repr, every))
        _refuse_if(
            [
                Violation(f"output_names[{index}]", f"unknown output {name[:64]!r}; the model gives {known}")
                for index, name in enumerate(names[:10_000])
                if name not in every
            ]
        )
        return [every[name] for name in names]


def _refuse_if(violations: Sequence[Violation]) -> None:
    """All that is wrong at once, as far as there is room; the message is the first of it."""
    if violations:
        first = violations[0]
        raise InvalidTensor(f"{first.field}: {first.description}", violations=violations[:MAX_VIOLATIONS])
