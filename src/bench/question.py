"""Requests made from a model's signature: synthetic values, or given arrays, serialised once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penstock.v1 import model_pb2
from penstock.v1 import predict_pb2 as pb

from ..errors import InvalidArgument
from ..signature import Dim, DType, Signature, TensorShape, TensorSpec, fit
from ..tensors import STORAGE, Array, encode

FREE_SIZE = 16
"""What a free dimension gets that nobody has said anything about, unless its bounds forbid it."""
_TEXT = b"penstock"


@dataclass(frozen=True, slots=True)
class Question:
    """Requests of the same shape."""

    bodies: tuple[bytes, ...]
    """Serialised PredictRequests with different values."""
    rows: int
    """Of each."""
    shapes: Mapping[str, tuple[int, ...]]


def free_dims(signature: Signature) -> dict[str, Dim]:
    """The free dimensions of the inputs by name, the batch not among them; for each the narrowest bounds."""
    found: dict[str, Dim] = {}
    for dim in (dim for spec in signature.inputs for dim in spec.shape if isinstance(dim, Dim)):
        if dim.name != signature.batch:
            old = found.get(dim.name, dim)
            tops = [top for top in (old.maximum, dim.maximum) if top is not None]
            found[dim.name] = Dim(dim.name, max(old.minimum, dim.minimum), min(tops, default=None))
    return found


def questions(
    spec: model_pb2.ModelSpec,
    signature: Signature,
    *,
    rows: int = 1,
    sizes: Mapping[str, int] | None = None,
    given: Mapping[str, Array] | None = None,
    variants: int = 4,
    seed: int = 0,
) -> Question:
    """Requests for a model.

    Args:
        spec: which model.
        signature: what it takes.
        rows: size of the batch dimension of inputs that are not given.
        sizes: of free dimensions, by name; those left out get a size within their bounds.
        given: arrays for inputs, by name; they are sent as they are.
        variants: how many requests with different values; one is enough where all inputs are given.
        seed: of the values.

    Raises:
        InvalidArgument: an unknown dimension or input, or a shape that the model does not take.
    """
    sizes, given = dict(sizes or {}), dict(given or {})
    dims = free_dims(signature)
    unknown = [name for name in sizes if name not in dims]
    if unknown:
        known = ", ".join(f"{d.name} ({_bounds(d)})" for d in dims.values()) or "none"
        raise InvalidArgument(f"{unknown[0]!r} is no free dimension of the model; it has {known}")
    chosen = {name: sizes.get(name, _within(dim)) for name, dim in dims.items()}
    if signature.batch:
        chosen[signature.batch] = rows
    made = [
        {s.name: given[s.name] if s.name in given else synthetic(s, chosen, variant + seed) for s in signature.inputs}
        for variant in range(1 if len(given) == len(signature.inputs) else variants)
    ]
    shapes = {name: array.shape for name, array in (made[0] | given).items()}
    rows = _checked(signature, shapes)
    types = {s.name: s.dtype for s in signature.inputs}
    return Question(tuple(_serialised(spec, inputs, types) for inputs in made), rows, shapes)


def synthetic(spec: TensorSpec, sizes: Mapping[str, int], seed: int) -> Array:
    """Values of a spec's type: floats in [0, 1), integers 0 and 1 (which index any table), short texts."""
    random = np.random.default_rng(seed)
    shape = tuple(sizes[dim.name] if isinstance(dim, Dim) else dim for dim in spec.shape)
    if spec.dtype is DType.BYTES:
        array = np.empty(shape, object)
        array.fill(_TEXT)
        return array
    if spec.dtype is DType.BF16:  # kept as the upper half of an FP32
        return (random.random(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if spec.dtype in (DType.FP16, DType.FP32, DType.FP64):
        return random.random(shape).astype(STORAGE[spec.dtype])
    return random.integers(0, 2, shape).astype(STORAGE[spec.dtype])


def _within(dim: Dim) -> int:
    return min(max(FREE_SIZE, dim.minimum), dim.maximum or max(FREE_SIZE, dim.minimum))


def _bounds(dim: Dim) -> str:
    return f"{dim.minimum} to {'any' if dim.maximum is None else dim.maximum}"


def _checked(signature: Signature, shapes: Mapping[str, tuple[int, ...]]) -> int:
    result = fit(signature, [TensorShape(name, None, shape) for name, shape in shapes.items()])
    if result.violations:
        raise InvalidArgument(result.violations[0].description, violations=result.violations)
    return result.rows


def _serialised(spec: model_pb2.ModelSpec, inputs: Mapping[str, Array], types: Mapping[str, DType]) -> bytes:
    tensors = [encode(name, array, types[name]) for name, array in inputs.items()]
    return pb.PredictRequest(model_spec=spec, inputs=tensors).SerializeToString()
