"""Between arrays and Tensor messages: the only file that knows the layout of bytes.

An array of BF16 is kept as uint16 inside, since numpy has no such type; `DType` says what it means. BYTES are arrays of
bytes objects.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import Enum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.v1 import tensor_pb2 as pb

from .errors import InvalidTensor, Violation
from .signature import DType, TensorShape

Array = NDArray[Any]
MAX_RANK = 64

STORAGE: dict[DType, np.dtype[Any]] = {
    DType.BOOL: np.dtype("?"),
    DType.UINT8: np.dtype("u1"),
    DType.UINT16: np.dtype("<u2"),
    DType.UINT32: np.dtype("<u4"),
    DType.UINT64: np.dtype("<u8"),
    DType.INT8: np.dtype("i1"),
    DType.INT16: np.dtype("<i2"),
    DType.INT32: np.dtype("<i4"),
    DType.INT64: np.dtype("<i8"),
    DType.FP16: np.dtype("<f2"),
    DType.FP32: np.dtype("<f4"),
    DType.FP64: np.dtype("<f8"),
    DType.BF16: np.dtype("<u2"),
    DType.BYTES: np.dtype("O"),
}
"""How the elements of each type are kept in an array."""

_FIELDS = {
    DType.BOOL: "bools",
    **dict.fromkeys((DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64), "uints"),
    **dict.fromkeys((DType.INT8, DType.INT16, DType.INT32, DType.INT64), "ints"),
    **dict.fromkeys((DType.FP16, DType.BF16, DType.FP32), "floats"),
    DType.FP64: "doubles",
    DType.BYTES: "byte_strings",
}
_LIST_TYPES = {"floats": "f4", "doubles": "f8", "ints": "i8", "uints": "u8", "bools": "?"}
"""What a list's elements are; left to itself numpy makes floats of [2**63, 0]."""
_LISTS = ("floats", "doubles", "ints", "uints", "bools", "byte_strings", "strings")


class Form(Enum):
    """In which form the elements of a tensor are written; an answer takes the form of the question."""

    RAW = "raw"
    TYPED = "typed"
    TEXT = "text"
    """Typed, and BYTES as `strings`."""


def shape_of(tensor: pb.Tensor) -> TensorShape:
    """What can be checked before the bytes are touched. A dtype that this release does not know counts as unsaid."""
    known = tensor.dtype in DType._value2member_map_
    return TensorShape(tensor.name, DType(tensor.dtype) if known else None, tuple(tensor.shape))


def form_of(tensors: Iterable[pb.Tensor]) -> Form:
    """The form of a question: raw unless some tensor uses a typed list."""
    for tensor in tensors:
        if not tensor.raw and any(getattr(tensor, name) for name in _LISTS):
            return Form.TEXT if tensor.strings else Form.TYPED
    return Form.RAW


def decode(tensor: pb.Tensor, dtype: DType, path: str) -> Array:
    """An array over the message's elements.

    Args:
        tensor: of any shape.
        dtype: what its elements are (the message may leave it unsaid).
        path: how an error names it, `inputs[0]`.

    Returns:
        An array of `tensor.shape` and STORAGE[dtype]. From `raw` it is read-only and keeps the message's bytes alive.

    Raises:
        InvalidTensor: a negative size, too many dimensions, elements that disagree with the shape or are in the wrong
            list, or a value that the dtype cannot hold.
    """
    shape = tuple(tensor.shape)
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise _invalid(f"{path}.shape", f"a shape has at most {MAX_RANK} sizes, none negative; got {list(shape[:16])}")
    used = [name for name in _LISTS if getattr(tensor, name)]
    if len(used) + bool(tensor.raw) > 1:
        raise _invalid(path, "elements stand both in " + " and ".join([*(["raw"] if tensor.raw else []), *used]))
    if used:
        return _from_list(tensor, used[0], dtype, shape, path)
    if dtype is DType.BYTES:
        return _objects(_split(tensor.raw, f"{path}.raw"), shape, path)
    return _from_raw(tensor.raw, dtype, shape, path)


def _from_raw(raw: bytes, dtype: DType, shape: tuple[int, ...], path: str) -> Array:
    storage = STORAGE[dtype]
    expected = prod(shape) * storage.itemsize
    if len(raw) != expected:
        text = f"{dtype.name} of shape {list(shape)} takes {expected} bytes, got {len(raw)}"
        raise _invalid(f"{path}.raw", text)
    return np.frombuffer(raw, storage).reshape(shape)


def _from_list(tensor: pb.Tensor, field: str, dtype: DType, shape: tuple[int, ...], path: str) -> Array:
    allowed = {_FIELDS[dtype], "strings"} if dtype is DType.BYTES else {_FIELDS[dtype]}
    if field not in allowed:
        raise _invalid(
            f"{path}.{field}", f"elements of {dtype.name} stand in `raw` or `{_FIELDS[dtype]}`, not in `{field}`"
        )
    values: Sequence[Any] = getattr(tensor, field)
    if dtype is DType.BYTES:
        return _objects([v.encode() if isinstance(v, str) else v for v in values], shape, path)
    if len(values) != prod(shape):
        text = f"shape {list(shape)} takes {prod(shape)} elements, got {len(values)}"
        raise _invalid(f"{path}.{field}", text)
    if dtype is DType.BF16:
        return _to_bf16(np.array(values, np.float32)).reshape(shape)
    return _checked(np.array(values, _LIST_TYPES[field]), dtype, f"{path}.{field}").reshape(shape)


def _checked(values: Array, dtype: DType, path: str) -> Array:
    storage = STORAGE[dtype]
    if storage.kind in "iu" and values.size:
        bounds = np.iinfo(storage)
        if values.min() < bounds.min or values.max() > bounds.max:
            raise _invalid(
                path, f"{dtype.name} holds {bounds.min} to {bounds.max}, got {values.min()} to {values.max()}"
            )
    with np.errstate(over="ignore"):  # rounding to infinity is what the contract says
        return values.astype(storage)


def _objects(values: Sequence[bytes], shape: tuple[int, ...], path: str) -> Array:
    if len(values) != prod(shape):
        raise _invalid(path, f"shape {list(shape)} takes {prod(shape)} elements, got {len(values)}")
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def _split(raw: bytes, path: str) -> list[bytes]:
    """The elements of raw BYTES: each a 4-byte little-endian length and then so many bytes."""
    elements, at = [], 0
    while at < len(raw):
        end = at + 4 + (struct.unpack_from("<I", raw, at)[0] if at + 4 <= len(raw) else 0)
        if at + 4 > len(raw) or end > len(raw):
            raise _invalid(path, f"the element at byte {at} goes past the end of {len(raw)} bytes")
        elements.append(raw[at + 4 : end])
        at = end
    return elements


def _to_bf16(values: NDArray[np.float32]) -> Array:
    """Rounded to nearest, ties to even; NaN stays NaN."""
    bits = values.astype("<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype("<u2")


def _from_bf16(values: Array) -> NDArray[np.float32]:
    return (values.astype("<u4") << 16).view("<f4")


def widened(array: Array, dtype: DType) -> NDArray[np.float64]:
    """The numbers of an array that holds elements of `dtype` as STORAGE says."""
    return (_from_bf16(array) if dtype is DType.BF16 else array).astype(np.float64)


def stored(array: Array, dtype: DType) -> Array:
    """An array from elsewhere as STORAGE keeps `dtype`: text as UTF-8; BF16 from FP32, or from two bytes as they are.

    Raises:
        InvalidTensor: its elements are of another type.
    """
    if dtype is DType.BYTES and array.dtype.kind in "SU":
        texts = [text.encode() if isinstance(text, str) else text for text in array.ravel().tolist()]
        return _objects(texts, array.shape, "elements")
    if dtype is DType.BF16 and array.dtype == np.dtype("V2"):  # as ml_dtypes saves them
        return array.view("<u2")
    if dtype is DType.BF16 and array.dtype == np.float32:
        return _to_bf16(array)
    if array.dtype.newbyteorder("<") != STORAGE[dtype] or dtype in (DType.BF16, DType.BYTES):
        raise _invalid("dtype", f"{dtype.name} is wanted, and these are {array.dtype}")
    return np.ascontiguousarray(array, STORAGE[dtype]).reshape(array.shape)


def encode(name: str, array: Array, dtype: DType, form: Form = Form.RAW) -> pb.Tensor:
    """The message for an array that holds elements of `dtype` as STORAGE says."""
    tensor = pb.Tensor(name=name, dtype=int(dtype), shape=array.shape)  # type: ignore[arg-type]
    if dtype is DType.BYTES:
        _write_bytes(tensor, [bytes(v) for v in array.ravel()], form)
    elif form is Form.RAW:
        tensor.raw = np.ascontiguousarray(array, STORAGE[dtype]).tobytes()
    else:
        flat = _from_bf16(array.ravel()) if dtype is DType.BF16 else array.ravel()
        getattr(tensor, _FIELDS[dtype]).extend(flat.tolist())
    return tensor


def _write_bytes(tensor: pb.Tensor, values: list[bytes], form: Form) -> None:
    if form is Form.RAW:
        tensor.raw = b"".join(struct.pack("<I", len(v)) + v for v in values)
    elif form is Form.TEXT:
        tensor.strings.extend(v.decode(errors="replace") for v in values)
    else:
        tensor.byte_strings.extend(values)


def dtype_of(array: Array) -> DType:
    """The element type of an array that is not BF16.

    Raises:
        InvalidTensor: numpy's type has no counterpart.
    """
    if array.dtype.kind in "SUO":
        return DType.BYTES
    little = array.dtype.newbyteorder("<")
    for dtype, storage in STORAGE.items():
        if storage == little and dtype is not DType.BF16:
            return dtype
    raise _invalid("dtype", f"arrays of {array.dtype} cannot be sent; convert to one of {', '.join(DType.__members__)}")


def _invalid(path: str, text: str) -> InvalidTensor:
    return InvalidTensor(f"{path}: {text}", violations=[Violation(path, text)])
