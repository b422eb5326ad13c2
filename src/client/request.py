"""From what a caller passes, arrays, tensors and lists, to the message that asks a model."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from penstock.v1 import model_pb2, tensor_pb2
from penstock.v1 import predict_pb2 as pb

from ..errors import InvalidTensor, Violation
from ..signature import DType
from ..tensors import dtype_of, encode


class TorchTensor(Protocol):
    """A torch.Tensor, said without importing torch."""

    def detach(self) -> Any:
        """What tells a tensor from an array."""


Value: TypeAlias = "NDArray[Any] | np.generic | TorchTensor | bool | int | float | str | bytes | Sequence[Value]"
"""One input. Arrays and torch tensors keep their element type. Of lists and scalars, floats become FP32, ints INT64,
bools BOOL, and str and bytes BYTES: pass an array for any other type. A torch tensor may be on any device."""

Inputs: TypeAlias = "Value | Mapping[str, Value]"
"""A value for each input of the model by its name, or one value alone for a model with one input."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask, and in which kind of array the answer is wanted."""

    message: pb.PredictRequest
    torch: bool
    """Whether some input was a torch tensor; then the outputs are, too."""

    def generate(self) -> pb.GenerateRequest:
        """The same question, for as many answers as the model gives."""
        asked = self.message
        return pb.GenerateRequest(model_spec=asked.model_spec, inputs=asked.inputs, output_names=asked.output_names)


def model_spec(model: str, version: int | None = None, alias: str | None = None) -> model_pb2.ModelSpec:
    """Which version of which model; with neither version nor alias, what the alias `stable` means.

    Raises:
        ValueError: both are given.
    """
    if version is not None and alias is not None:
        raise ValueError(f"give a version or an alias of {model!r}, not both: got {version} and {alias!r}")
    spec = model_pb2.ModelSpec(name=model)
    if version is not None:
        spec.version = version
    if alias is not None:
        spec.alias = alias
    return spec


def question(
    model: str, inputs: Inputs, version: int | None, alias: str | None, outputs: Sequence[str] | None
) -> Question:
    """The question for a call.

    Args:
        model: its name.
        inputs: see `Inputs`. They are copied: the caller may change them afterwards.
        version: see `model_spec`.
        alias: see `model_spec`.
        outputs: names of the outputs wanted; None or none: all.

    Raises:
        ValueError: version and alias are both given, or `outputs` is one string.
        InvalidTensor: a value cannot be sent: lists of unequal length, or elements of no type on the wire.
    """
    if isinstance(outputs, str):
        raise ValueError(f"outputs is a sequence of names: ({outputs!r},), not {outputs!r}")
    values = inputs if isinstance(inputs, Mapping) else {"": inputs}
    tensors = [_tensor(name, value) for name, value in values.items()]
    spec = model_spec(model, version, alias)
    message = pb.PredictRequest(model_spec=spec, inputs=tensors, output_names=outputs or ())
    return Question(message, any(map(_is_torch, values.values())))


def question_or_error(
    model: str, inputs: Inputs, version: int | None, alias: str | None, outputs: Sequence[str] | None
) -> Question | InvalidTensor:
    """The same for one of many questions, where inputs that cannot be sent are the outcome of that one alone."""
    try:
        return question(model, inputs, version, alias, outputs)
    except InvalidTensor as error:
        return error


def _is_torch(value: object) -> bool:
    # Nobody has a torch tensor without having imported torch; the class is missing while another thread imports it.
    return isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ()))


def _tensor(name: str, value: Any) -> tensor_pb2.Tensor:
    if _is_torch(value):
        from ..torch_tensors import from_torch

        array, dtype = from_torch(value)
        return encode(name, array, dtype)
    path = f"inputs[{name!r}]" if name else "the input"
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic) else _from_list(value, path)
    if array.dtype.kind in "SUO":
        return encode(name, _byte_strings(array, path), DType.BYTES)
    try:
        return encode(name, array, dtype_of(array))
    except InvalidTensor as error:
        raise _refusal(path, error.message) from None


def _from_list(value: Any, path: str) -> NDArray[Any]:
    try:
        array = np.asarray(value)
        if array.dtype.kind in "SUO":
            # Not as numpy understands it: it cuts trailing zero bytes off, and turns numbers beside text into text.
            return np.array(value, object)
    except (TypeError, ValueError) as error:
        raise _refusal(path, f"not an array: {error}") from error
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _byte_strings(array: NDArray[Any], path: str) -> NDArray[Any]:
    """The same shape, each element a bytes object; text becomes UTF-8."""
    elements = np.empty(array.size, object)
    for index, element in enumerate(array.ravel().tolist()):
        if not isinstance(element, str | bytes):
            raise _refusal(path, f"elements are str, bytes or numbers of one kind, got {type(element).__name__}")
        elements[index] = element.encode() if isinstance(element, str) else element
    return elements.reshape(array.shape)


def _refusal(path: str, text: str) -> InvalidTensor:
    return InvalidTensor(f"{path}: {text}", violations=[Violation(path, text)])
