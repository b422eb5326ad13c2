"""The memory that requests are copied into when they arrive, one row after another.

A request's bytes are copied once and let go. A batch whose rows lie side by side is a slice of this memory and costs
nothing to join; on CUDA the memory is pinned, so that one copy per input takes a whole batch to the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch

from ...signature import DType, Signature, TensorSpec
from ...tensors import STORAGE, Array
from ...torch_tensors import TORCH
from ..loaded import Value
from .slots import Slots

_BATCHES = 4
"""As many batches find room: two on the device, one that forms, and what waits for its turn."""
_MOST_BYTES = 256 * 1024 * 1024


def has_fixed_rows(signature: Signature) -> bool:
    """Whether every row of every input has the same size."""
    return bool(signature.batch) and all(
        spec.dtype is not DType.BYTES and all(isinstance(size, int) for size in spec.shape[1:])
        for spec in signature.inputs
    )


def capacity(inputs: Sequence[TensorSpec], rows: int) -> int:
    """How many rows of these inputs are kept: room for several batches of `rows`, or what the bound allows."""
    row_bytes = sum(prod(_sizes(spec)) * STORAGE[spec.dtype].itemsize for spec in inputs)
    return min(_BATCHES * rows, _MOST_BYTES // max(row_bytes, 1))


def _sizes(spec: TensorSpec) -> list[int]:
    """The shape of one row."""
    return [size for size in spec.shape[1:] if isinstance(size, int)]


def allocate(spec: TensorSpec, shape: Sequence[int], *, pinned: bool) -> tuple[Array, Value]:
    """Memory for an input, as an array that STORAGE describes and as what a model takes: the same memory twice."""
    if spec.dtype is DType.BYTES:
        texts = np.full(shape, b"", object)
        return texts, texts
    if spec.dtype is DType.BF16:  # which numpy does not have
        bits = torch.empty(tuple(shape), dtype=torch.uint16, pin_memory=pinned)
        return bits.numpy(), bits.view(torch.bfloat16)
    tensor = torch.empty(tuple(shape), dtype=TORCH[spec.dtype], pin_memory=pinned)
    return tensor.numpy(), tensor


class Block:
    """Memory for some rows of each input. Pages are touched when they are first written.

    Must be made outside of torch's inference mode: only then does torch count what is written to `tensors`.
    """

    def __init__(self, inputs: Sequence[TensorSpec], rows: int, *, pinned: bool) -> None:
        made = [allocate(spec, [rows, *_sizes(spec)], pinned=pinned) for spec in inputs]
        self.rows = rows
        self.arrays: list[Array] = [array for array, _ in made]
        """As STORAGE says, [rows, ...]."""
        self.tensors: list[torch.Tensor] = [tensor for _, tensor in made]
        """The same memory."""

    def slice(self, start: int, rows: int) -> list[torch.Tensor]:
        """Neighbouring rows, not copied."""
        return [tensor[start : start + rows] for tensor in self.tensors]

    def versions(self) -> list[int]:
        """Changes when torch writes to the memory; what numpy writes is not counted."""
        return [tensor._version for tensor in self.tensors]


class RowStore:
    """Rows that wait or run. Written by the event loop; the model's thread reads other rows meanwhile.

    Args:
        inputs: specs of inputs that have fixed rows.
        rows: the most of one batch.
        pinned: whether a GPU is to read them.
    """

    def __init__(self, inputs: Sequence[TensorSpec], rows: int, *, pinned: bool) -> None:
        self.block = Block(inputs, capacity(inputs, rows), pinned=pinned)
        self.slots = Slots(self.block.rows)
        self._batch = rows

    def write(self, inputs: Sequence[Array], rows: int) -> int | None:
        """Copy a request's rows; the first of them, or None if there is no room."""
        slot = self.slots.take(rows)
        if slot is not None:
            for memory, array in zip(self.block.arrays, inputs, strict=True):
                memory[slot : slot + rows] = array
        return slot

    def free(self, slot: int, rows: int) -> None:
        """Give rows back."""
        self.slots.free(slot, rows)

    def begin_batch(self) -> None:
        """What is written from now on will run together."""
        self.slots.make_room(min(self._batch, self.block.rows))

    def gather(self, places: Sequence[int], into: Block) -> None:
        """Copy rows from anywhere to the front of a block."""
        index = np.array(places)
        for memory, target in zip(self.block.arrays, into.arrays, strict=True):
            # Without a mode, `take` copies twice: an index that is wrong must not leave half an answer.
            np.take(memory, index, axis=0, out=target[: len(index)], mode="clip")
