"""Between messages and the values used inside, for what several edges share."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.v1 import model_pb2

from ..optimization import Candidate, Optimized
from ..signature import Dim, DType, Signature, TensorSpec

_MOST_CANDIDATES, _MOST_SIZES, _MOST_TEXT = 8, 16, 400


def signature_to_message(signature: Signature) -> model_pb2.Signature:
    """As it goes on the wire."""
    return model_pb2.Signature(
        inputs=[_spec_to_message(spec) for spec in signature.inputs],
        outputs=[_spec_to_message(spec) for spec in signature.outputs],
        batch_dimension=signature.batch,
    )


def signature_from_message(message: model_pb2.Signature) -> Signature:
    """As it is used inside. Dtypes that this release does not know raise ValueError."""
    return Signature(_specs(message.inputs), _specs(message.outputs), message.batch_dimension)


def _spec_to_message(spec: TensorSpec) -> model_pb2.TensorSpec:
    message = model_pb2.TensorSpec(name=spec.name, dtype=int(spec.dtype))  # type: ignore[arg-type]
    for dim in spec.shape:
        if isinstance(dim, Dim):
            message.shape.add(name=dim.name, min=dim.minimum, max=dim.maximum or 0)
        else:
            message.shape.add(size=dim)
    return message


def _specs(messages: Iterable[model_pb2.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(DType(m.dtype), [_dim(d) for d in m.shape], m.name) for m in messages)


def _dim(message: model_pb2.Dimension) -> int | Dim:
    if message.WhichOneof("kind") == "name":
        return Dim(message.name, message.min, message.max or None)
    return message.size


def optimized_to_message(optimized: Optimized) -> model_pb2.OptimizationResult:
    """As it goes on the wire."""
    candidates = [
        model_pb2.OptimizationCandidate(name=c.name, seconds=c.seconds, problem=c.problem[:_MOST_TEXT])
        for c in optimized.candidates
    ]
    return model_pb2.OptimizationResult(chosen=optimized.chosen, candidates=candidates)


def optimized_from_message(message: model_pb2.OptimizationResult) -> Optimized:
    """As it is used inside; no more of it than anybody would look at."""
    candidates = [
        Candidate(c.name, dict(sorted(c.seconds.items())[:_MOST_SIZES]), c.problem[:_MOST_TEXT])
        for c in message.candidates[:_MOST_CANDIDATES]
    ]
    return Optimized(message.chosen, tuple(candidates))
