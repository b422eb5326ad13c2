"""Between messages and the values used inside, for what several edges share."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.v1 import model_pb2

from ..signature import Dim, DType, Signature, TensorSpec


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
