from __future__ import annotations

import numpy as np
import pytest
import torch

from penstock.signature import Dim, Signature, TensorSpec
from penstock.worker.execution.rows import Block, RowStore, capacity, has_fixed_rows

X = TensorSpec("FP32", ["batch", 3], "x")
HALF = TensorSpec("BF16", ["batch"], "half")
IMAGE = TensorSpec("FP32", ["batch", 3, 1024, 1024], "image")


@pytest.mark.parametrize(
    ("spec", "fixed"),
    [
        (X, True),
        (TensorSpec("BOOL", ["batch"]), True),
        (TensorSpec("FP32", ["batch", Dim("length", 1, 512)]), False),
        (TensorSpec("BYTES", ["batch"]), False),
    ],
    ids=str,
)
def test_rows_are_kept_where_all_have_one_size(spec: TensorSpec, fixed: bool) -> None:
    assert has_fixed_rows(Signature((X, spec), (X,), "batch")) == fixed
    assert not has_fixed_rows(Signature((X, spec), (X,), ""))


@pytest.mark.parametrize(
    ("specs", "rows", "kept"),
    [
        ([X], 8, 32),
        ([X, HALF], 64, 256),
        ([IMAGE], 4, 16),
        ([IMAGE], 64, 21),
        ([TensorSpec("FP32", ["batch", 1 << 30])], 64, 0),
        ([TensorSpec("FP32", ["batch", 0])], 64, 256),
    ],
)
def test_four_batches_are_kept_within_256_mib(specs: list[TensorSpec], rows: int, kept: int) -> None:
    assert capacity(specs, rows) == kept


def test_what_is_written_is_what_a_slice_has_without_a_copy() -> None:
    store = RowStore([X, HALF], 2, pinned=False)
    assert store.write([np.ones((2, 3), np.float32), np.array([0x3FC0, 0xC000], np.uint16)], 2) == 0
    assert store.write([np.full((1, 3), 7, np.float32), np.array([0], np.uint16)], 1) == 2
    x, half = store.block.slice(1, 2)
    assert x.tolist() == [[1, 1, 1], [7, 7, 7]]
    assert (half.dtype, half.tolist()) == (torch.bfloat16, [-2.0, 0.0])
    assert x.data_ptr() == store.block.arrays[0][1:].ctypes.data


def test_what_finds_no_room_is_not_written_until_something_is_freed() -> None:
    store = RowStore([X], 1, pinned=False)
    slots = [store.write([np.full((1, 3), row, np.float32)], 1) for row in range(5)]
    assert slots == [0, 1, 2, 3, None]
    store.free(1, 1)
    assert store.write([np.full((1, 3), 9, np.float32)], 1) == 1
    assert store.block.arrays[0][:, 0].tolist() == [0, 9, 2, 3]


def test_rows_from_anywhere_are_gathered_in_the_order_asked_for() -> None:
    store, into = RowStore([X], 2, pinned=False), Block([X], 4, pinned=False)
    for row in range(6):
        store.write([np.full((1, 3), row, np.float32)], 1)
    store.gather([5, 0, 3], into)
    assert into.slice(0, 3)[0][:, 0].tolist() == [5, 0, 3]


def test_what_torch_writes_is_noticed_and_what_callers_write_is_not() -> None:
    store = RowStore([X], 2, pinned=False)
    before = store.block.versions()
    store.write([np.ones((1, 3), np.float32)], 1)
    with torch.inference_mode():
        x = store.block.slice(0, 1)[0]
        assert (x * 2).sum() == 6
        assert store.block.versions() == before
        x.add_(1)
    assert store.block.versions() != before
