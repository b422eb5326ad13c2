"""One run of an ONNX session: on the CPU over the memory in which the inputs lie, on CUDA where they are already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from ...errors import InvalidInput
from ...signature import DType, TensorSpec
from ...tensors import Array
from ..loaded import Value

Runner = Callable[[Sequence[Value]], list[Value]]

TYPES = {
    "tensor(float)": (DType.FP32, 1),
    "tensor(uint8)": (DType.UINT8, 2),
    "tensor(int8)": (DType.INT8, 3),
    "tensor(uint16)": (DType.UINT16, 4),
    "tensor(int16)": (DType.INT16, 5),
    "tensor(int32)": (DType.INT32, 6),
    "tensor(int64)": (DType.INT64, 7),
    "tensor(string)": (DType.BYTES, 8),
    "tensor(bool)": (DType.BOOL, 9),
    "tensor(float16)": (DType.FP16, 10),
    "tensor(double)": (DType.FP64, 11),
    "tensor(uint32)": (DType.UINT32, 12),
    "tensor(uint64)": (DType.UINT64, 13),
    "tensor(bfloat16)": (DType.BF16, 16),
}
"""What onnxruntime calls a type → ours, and its number in ONNX."""
_NUMBERS = dict(TYPES.values())


def runner(session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[tuple[str, DType]], device: str) -> Runner:
    """Makes of the model's inputs its outputs, in host memory: numpy arrays, and torch tensors of BF16."""
    if device == "cpu" and DType.BF16 not in {*(s.dtype for s in inputs), *(dtype for _, dtype in outputs)}:
        return _plain(session, inputs, [name for name, _ in outputs])
    return _bound(session, inputs, outputs, device)


def _plain(session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> Runner:
    names = [spec.name for spec in inputs]

    def run(values: Sequence[Value]) -> list[Value]:
        arrays = [v.numpy() if isinstance(v, torch.Tensor) else _texts(v) for v in values]
        answer: list[Value] = session.run(outputs, dict(zip(names, arrays, strict=True)))
        return answer

    return run


def _bound(session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[tuple[str, DType]], device: str) -> Runner:
    """For what numpy cannot hold: onnxruntime is told where the elements lie."""
    kind, _, number = device.partition(":")

    def run(values: Sequence[Value]) -> list[Value]:
        binding = session.io_binding()
        kept: list[Any] = [v.contiguous() if isinstance(v, torch.Tensor) else _texts(v) for v in values]
        for spec, value in zip(inputs, kept, strict=True):
            if spec.dtype is DType.BYTES:
                binding.bind_cpu_input(spec.name, value)
            else:
                element = _NUMBERS[spec.dtype]
                place = value.data_ptr()
                binding.bind_input(spec.name, kind, int(number or 0), element, list(value.shape), place)
        for name, _ in outputs:
            binding.bind_output(name, "cpu")
        if kind == "cuda":
            torch.cuda.current_stream(device).synchronize()  # onnxruntime has a stream of its own
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        found = zip(binding.get_outputs(), outputs, strict=True)
        return [from_dlpack(v) if dtype is DType.BF16 else v.numpy() for v, (_, dtype) in found]

    return run


def _texts(array: Array) -> Array:
    """BYTES as ONNX has them."""
    texts = np.empty(array.size, object)
    try:
        texts[:] = [element.decode() for element in array.ravel()]
    except UnicodeDecodeError:
        raise InvalidInput("BYTES for an ONNX model are texts; one of these is not UTF-8") from None
    return texts.reshape(array.shape)
