"""Between torch tensors and the arrays of `tensors`. Imported only where torch is there and in use."""

from __future__ import annotations

import numpy as np
import torch

from .signature import DType
from .tensors import Array, dtype_of

TORCH: dict[DType, torch.dtype] = {
    DType.BOOL: torch.bool,
    DType.UINT8: torch.uint8,
    DType.UINT16: torch.uint16,
    DType.UINT32: torch.uint32,
    DType.UINT64: torch.uint64,
    DType.INT8: torch.int8,
    DType.INT16: torch.int16,
    DType.INT32: torch.int32,
    DType.INT64: torch.int64,
    DType.FP16: torch.float16,
    DType.FP32: torch.float32,
    DType.FP64: torch.float64,
    DType.BF16: torch.bfloat16,
}
"""All element types but BYTES, which torch does not have."""
_DTYPES = {value: key for key, value in TORCH.items()}


def dtype_of_torch(dtype: torch.dtype) -> DType:
    """The element type of a torch dtype; ValueError where there is none (complex, quantized)."""
    if dtype not in _DTYPES:
        raise ValueError(f"{dtype} has no counterpart on the wire; known are {', '.join(map(str, _DTYPES))}")
    return _DTYPES[dtype]


def to_torch(array: Array, dtype: DType) -> torch.Tensor:
    """A tensor of the array's shape. Shares memory if the array can be written, else copies."""
    writable = array if array.flags.writeable else array.copy()
    tensor = torch.from_numpy(np.asarray(writable, order="C"))  # `ascontiguousarray` makes scalars vectors
    return tensor.view(torch.bfloat16) if dtype is DType.BF16 else tensor


def from_torch(tensor: torch.Tensor) -> tuple[Array, DType]:
    """The elements in host memory, and their type."""
    host = tensor.detach().to("cpu").contiguous()
    if host.dtype is torch.bfloat16:
        return host.view(torch.uint16).numpy(), DType.BF16
    array = host.numpy()
    return array, dtype_of(array)
