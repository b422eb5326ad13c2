"""From what a caller passes, arrays, tensors and lists, to the bytes that ask a model."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidTensor, Violation
from ..signature import DType
from ..tensors import STORAGE, Array, dtype_of, encode
from .wire import Form, around

_NUMBERS = {storage: int(dtype) for dtype, storage in STORAGE.items() if dtype not in (DType.BF16, DType.BYTES)}
"""Of arrays whose memory is already what goes on the wire, the element type."""


class TorchTensor(Protocol):
    """A torch.Tensor, said without importing torch."""

    def detach(self) -> Any:
        """What tells a tensor from an array."""


Value: TypeAlias = "NDArray[Any] | np.generic | TorchTensor | bool | int | float | str | bytes | Sequence[Value]"
"""One input. Arrays and torch tensors keep their element type. Of lists and scalars, floats become FP32, ints INT64,
bools BOOL, and str and bytes BYTES: pass an array for any other type. A torch tensor may be on any device."""

Inputs: TypeAlias = "Value | Mapping[str, Value]"
"""A value for each input of the model by its name, or one value alone for a model with one input."""


class Question(NamedTuple):
    """What to ask, and in which kind of array the answer is wanted."""

    body: bytes
    """A PredictRequest, or a GenerateRequest: they have the same fields."""
    torch: bool
    """Whether some input was a torch tensor; then the outputs are, too."""


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
    forms: list[Form] = []
    elements: list[Any] = []
    torch = False
    for name, value in (inputs if isinstance(inputs, Mapping) else {"": inputs}).items():
        raw, number, shape = _plain(value) or _converted(name, value)
        torch = torch or _is_torch(value)
        forms.append((name, number, shape, raw.nbytes))
        elements.append(raw)
    first, *others = around(model, version, alias, tuple(outputs or ()), tuple(forms))
    parts = [first]
    for raw, part in zip(elements, others, strict=True):
        parts += raw, part
    return Question(b"".join(parts), torch)


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


_Raw = tuple[Array, int, tuple[int, ...]]
"""An array whose memory is what goes on the wire; the element type as a number; the shape that is said."""


def _plain(value: object) -> _Raw | None:
    """An array that needs no change."""
    if type(value) is np.ndarray and value.flags.c_contiguous and (number := _NUMBERS.get(value.dtype)):
        return value, number, value.shape
    return None


def _converted(name: str, value: Any) -> _Raw:
    if _is_torch(value):
        from ..torch_tensors import from_torch

        array, dtype = from_torch(value)
        return np.ascontiguousarray(array, STORAGE[dtype]), int(dtype), array.shape
    path = f"inputs[{name!r}]" if name else "the input"
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic) else _from_list(value, path)
    if array.dtype.kind in "SUO":
        raw = encode(name, _byte_strings(array, path), DType.BYTES).raw
        return np.frombuffer(raw, np.uint8), int(DType.BYTES), array.shape
    try:
        dtype = dtype_of(array)
    except InvalidTensor as error:
        raise _refusal(path, error.message) from None
    return np.ascontiguousarray(array, STORAGE[dtype]), int(dtype), array.shape


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
