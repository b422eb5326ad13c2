"""How much two answers to one question differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from penstock.v1 import predict_pb2, tensor_pb2

from ..errors import InvalidTensor
from ..signature import DType
from ..tensors import Array, decode

_FLOATS = (DType.FP16, DType.FP32, DType.FP64, DType.BF16)
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """Between two answers; the greatest over all outputs."""

    mismatched: bool
    """Names, types or shapes differ, or it is no answer; then nothing else is said."""
    max_abs: float = 0.0
    """Between two numbers."""
    relative: float = 0.0
    """The same, as a share of the greatest number of the first answer's output."""
    cosine_distance: float = 0.0
    """1 - cosine of the angle between the two, 0 to 2."""
    rows: int = 0
    top1_rows: int = 0
    """Rows whose greatest element is the same one; of outputs that are no floats, or have no last dimension of at least
    two beside the rows: whose elements are the same, or which count as agreeing."""


def compare(one: bytes, other: bytes) -> Difference:
    """Compare two PredictResponses, whatever versions they name."""
    try:
        first, second = _outputs(one), _outputs(other)
    except (DecodeError, InvalidTensor, ValueError):
        return Difference(mismatched=True)
    if [(o[0], o[1], o[2].shape) for o in first] != [(o[0], o[1], o[2].shape) for o in second]:
        return Difference(mismatched=True)
    max_abs = relative = distance = 0.0
    agree: NDArray[np.bool_] | None = None
    for (_, dtype, a), (_, _, b) in zip(first, second, strict=True):
        rows = _agreeing(dtype, a, b)
        agree = rows if agree is None else agree & rows if len(agree) == len(rows) else agree & rows.all()
        if dtype in _FLOATS:
            absolute, scale, angle = _numbers(_floats(dtype, a), _floats(dtype, b))
            max_abs, distance = max(max_abs, absolute), max(distance, angle)
            relative = max(relative, absolute / scale if scale else (float("inf") if absolute else 0.0))
    counted = (len(agree), int(agree.sum())) if agree is not None else (0, 0)
    return Difference(False, max_abs, relative, distance, *counted)


def _outputs(answer: bytes) -> list[tuple[str, DType, Array]]:
    message = predict_pb2.PredictResponse.FromString(answer)
    return [_output(tensor) for tensor in message.outputs]


def _output(tensor: tensor_pb2.Tensor) -> tuple[str, DType, Array]:
    dtype = DType(tensor.dtype)
    return tensor.name, dtype, decode(tensor, dtype, "output")


def _floats(dtype: DType, array: Array) -> _Floats:
    if dtype is DType.BF16:
        array = (array.astype("<u4") << 16).view("<f4")
    return array.astype(np.float64)


def _numbers(a: _Floats, b: _Floats) -> tuple[float, float, float]:
    """The greatest difference, the greatest number of the first, and the cosine distance."""
    if not a.size:
        return 0.0, 0.0, 0.0
    with np.errstate(all="ignore"):
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    difference[np.isnan(difference)] = np.inf
    finite = np.isfinite(a) & np.isfinite(b)
    x, y = np.where(finite, a, 0.0).ravel(), np.where(finite, b, 0.0).ravel()
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    equal = bool((x == y).all())
    distance = 0.0 if equal else 1.0 - float(x @ y) / lengths if lengths else 1.0
    return float(difference.max()), float(np.abs(x).max()), max(distance, 0.0)


def _agreeing(dtype: DType, a: Array, b: Array) -> NDArray[np.bool_]:
    """For each row, whether both answers mean the same."""
    count = a.shape[0] if a.ndim else 1
    if dtype not in _FLOATS:
        same: Any = a == b
    elif a.ndim > 1 and a.shape[-1] > 1 and a.size:
        same = _floats(dtype, a).argmax(-1) == _floats(dtype, b).argmax(-1)
    else:
        return np.ones(count, np.bool_)
    return np.asarray(np.asarray(same, np.bool_).reshape(count, -1).all(1) if count else np.ones(0, np.bool_))
