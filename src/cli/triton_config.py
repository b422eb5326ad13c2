"""Triton's `config.pbtxt`: what of it is understood, what is passed over, and what is refused. Decides only.

The file is protobuf's text format. Its message is described here with those fields that matter; whatever else it holds
is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from ..config import BadSetting
from ..signature import BATCH, DType, TensorSpec

_TYPES = {
    **{f"TYPE_{dtype.name}": dtype for dtype in DType if dtype is not DType.BYTES},
    "TYPE_STRING": DType.BYTES,
}
_PLATFORMS = ("", "onnxruntime_onnx", "pytorch_libtorch")
_BACKENDS = ("", "onnxruntime", "pytorch")
_REFUSED = {
    "ensemble_scheduling": "ensembles are not served",
    "sequence_batching": "requests that belong together (sequence batching) are not served",
    "batch_input": "inputs made of a batch are not served",
    "batch_output": "outputs made of a batch are not served",
}
_PASSED_OVER = (
    "cc_model_filenames",
    "metric_tags",
    "model_metrics",
    "model_operations",
    "model_repository_agents",
    "model_warmup",
    "optimization",
    "parameters",
    "response_cache",
    "version_policy",
)
_MESSAGES: Mapping[str, Mapping[str, str]] = {
    "Skipped": {},
    "Transactions": {"decoupled": "bool"},
    "Tensor": {
        "name": "string",
        "data_type": "DataType",
        "dims": "int64*",
        "reshape": "Skipped",
        "is_shape_tensor": "bool",
        "allow_ragged_batch": "bool",
        "optional": "bool",
    },
    "Group": {"count": "int32", "kind": "Kind", "gpus": "int32*"},
    "Batching": {"max_queue_delay_microseconds": "uint64", "preferred_batch_size": "int32*"},
    "Config": {
        "name": "string",
        "platform": "string",
        "backend": "string",
        "default_model_filename": "string",
        "max_batch_size": "int32",
        "input": "Tensor*",
        "output": "Tensor*",
        "instance_group": "Group*",
        "dynamic_batching": "Batching",
        "model_transaction_policy": "Transactions",
        **dict.fromkeys((*_REFUSED, *_PASSED_OVER), "Skipped*"),
    },
}
_ENUMS = {
    "DataType": ("TYPE_INVALID", *_TYPES),
    "Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
}
_SCALARS = ("bool", "int32", "int64", "string", "uint64")


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """What is understood."""

    name: str = ""
    filename: str = ""
    """Of the model, if it is not the usual one."""
    inputs: tuple[TensorSpec, ...] = ()
    """Empty: the model says it itself. With `batch` first if the batch dimension is implied."""
    outputs: tuple[TensorSpec, ...] = ()
    max_batch_size: int = 0
    """0: there is no batch dimension, or it is not said."""
    max_queue_delay_s: float = 0.0
    instances: int = 0
    device: str = ""
    passed_over: tuple[str, ...] = ()
    """What it says besides."""


def read_config(text: str) -> TritonConfig:
    """Understand the file.

    Raises:
        BadSetting: it is not protobuf's text format, or asks for what is not served here.
    """
    message: Any = _message_class()()
    try:
        text_format.Parse(text, message, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeError, RecursionError) as error:
        raise BadSetting(f"config.pbtxt cannot be read: line {error}") from None
    for problem in _problems(message):
        raise BadSetting(f"config.pbtxt: {problem}")
    batched = message.max_batch_size > 0
    return TritonConfig(
        name=message.name,
        filename=message.default_model_filename,
        inputs=tuple(_spec(tensor, batched) for tensor in message.input),
        outputs=tuple(_spec(tensor, batched) for tensor in message.output),
        max_batch_size=message.max_batch_size,
        max_queue_delay_s=message.dynamic_batching.max_queue_delay_microseconds / 1e6,
        instances=sum(group.count or 1 for group in message.instance_group),
        device="cpu" if message.instance_group and all(_is_cpu(group) for group in message.instance_group) else "",
        passed_over=tuple(_passed_over(message)),
    )


def _problems(message: Any) -> Iterator[str]:
    platform, backend = message.platform, message.backend
    if platform not in _PLATFORMS or backend not in _BACKENDS:
        yield (
            f"{'backend' if backend else 'platform'} {backend or platform!r} is not served; what is: onnxruntime,"
            " pytorch. Publish the model in another format, or write a penstock.Servable"
        )
    yield from (text for field, text in _REFUSED.items() if getattr(message, field))
    if message.model_transaction_policy.decoupled:
        yield "decoupled answers are not served; write a penstock.Servable whose predict is a generator"
    if message.max_batch_size < 0:
        yield f"max_batch_size is {message.max_batch_size}"
    for tensor in (*message.input, *message.output):
        odd = [f for f in ("is_shape_tensor", "allow_ragged_batch", "optional") if getattr(tensor, f)]
        if odd or tensor.HasField("reshape"):
            yield f"{tensor.name!r}: {(odd or ['reshape'])[0]} is not served"
        if not tensor.name or not tensor.data_type:
            yield f"{tensor.name!r} needs a name and a data_type"
        if any(size < -1 for size in tensor.dims):
            yield f"{tensor.name!r} has a size below -1"


def _spec(tensor: Any, batched: bool) -> TensorSpec:
    """Each -1 is a dimension of its own: whether two are the same is not said here."""
    first = 1 if batched else 0
    dims = [size if size >= 0 else f"{_plain(tensor.name)}_{first + axis}" for axis, size in enumerate(tensor.dims)]
    dtype = _TYPES[_ENUMS["DataType"][tensor.data_type]]
    return TensorSpec(dtype, [*([BATCH] if batched else []), *dims], tensor.name)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _is_cpu(group: Any) -> bool:
    return bool(_ENUMS["Kind"][group.kind] == "KIND_CPU")


def _passed_over(message: Any) -> Iterator[str]:
    yield from (field for field in _PASSED_OVER if getattr(message, field))
    if message.dynamic_batching.preferred_batch_size:
        yield "preferred_batch_size"
    if any(group.gpus for group in message.instance_group):
        yield "gpus"


@cache
def _message_class() -> Any:
    """In a pool of its own: Triton's client brings a message of the same meaning into the usual one."""
    file = descriptor_pb2.FileDescriptorProto(name="triton_config", package="config", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            _add_field(message, field, number, kind)
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("config.Config"))


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    field, plain = message.field.add(name=name, number=number), kind.rstrip("*")
    field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
    if plain in _SCALARS:
        field.type = getattr(field, f"TYPE_{plain.upper()}")
    else:
        field.type = field.TYPE_ENUM if plain in _ENUMS else field.TYPE_MESSAGE
        field.type_name = f".config.{plain}"
