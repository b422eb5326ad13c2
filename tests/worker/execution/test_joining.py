from __future__ import annotations

import math
from typing import Any

import numpy as np

from penstock.signature import TensorSpec
from penstock.worker.execution.joining import Joined, Joining
from penstock.worker.execution.piece import Piece, pieces_of
from penstock.worker.execution.rows import RowStore
from penstock.worker.execution.transfer import transfer_for
from penstock.worker.job import Job
from penstock.worker.loaded import Loaded

from ..conftest import DOUBLED, signature

ROWS = 4


def vector(*rows: float) -> Any:
    return np.array([[row, row] for row in rows], np.float32)


class Bench:
    """A row store, and what is joined from it."""

    def __init__(self, **more: Any) -> None:
        self.store = RowStore(DOUBLED.inputs, ROWS, pinned=False)
        self.joining = Joining(Loaded(DOUBLED, lambda v: v, **more), self.store, transfer_for("cpu"), ROWS)

    def job(self, *rows: float, written: bool = True) -> Job:
        job = Job([vector(*rows)], len(rows), None, math.inf, arrived=0)
        if written:
            job.slot = self.store.write(job.inputs, job.rows)
            job.inputs = ()
        return job

    def join(self, *jobs: Job) -> tuple[Joined, list[Piece]]:
        pieces = pieces_of(jobs)
        return self.joining.join(pieces), pieces

    def is_slice(self, joined: Joined) -> bool:
        memory = self.store.block.arrays[0]
        return bool(np.shares_memory(joined.values[0].numpy(), memory))


def first(joined: Joined) -> list[float]:
    values: list[float] = joined.values[0][:, 0].tolist()
    return values


def test_neighbours_are_not_copied_in_whatever_order_they_run() -> None:
    bench = Bench()
    jobs = [bench.job(1), bench.job(2, 3), bench.job(4)]
    joined, pieces = bench.join(jobs[2], jobs[0], jobs[1])
    assert bench.is_slice(joined)
    assert first(joined) == [1, 2, 3, 4]
    assert [piece.place for piece in pieces] == [1, 2, 0]


def test_rows_apart_are_gathered_and_those_without_a_place_follow() -> None:
    bench = Bench()
    jobs = [bench.job(1), bench.job(2), bench.job(3)]
    joined, _ = bench.join(bench.job(9, written=False), jobs[2], jobs[0])
    assert not bench.is_slice(joined)
    assert first(joined) == [1, 3, 9]


def test_two_batches_under_way_do_not_share_memory() -> None:
    bench = Bench()
    jobs = [bench.job(row) for row in range(6)]
    batches = [bench.join(jobs[a], jobs[b])[0] for a, b in ((0, 2), (1, 3), (0, 4))]
    assert [first(joined) for joined in batches] == [[0, 2], [1, 3], [0, 4]]
    blocks = [joined.block for joined in batches]
    assert blocks[0] is not blocks[1]
    assert blocks[2] is None  # a third one has memory of its own
    bench.joining.release(batches[0])
    assert bench.join(jobs[1], jobs[5])[0].block is blocks[0]


def test_too_few_rows_are_filled_up_with_the_last() -> None:
    bench = Bench(min_rows=3)
    joined, _ = bench.join(bench.job(1), bench.job(2))
    assert (joined.rows, first(joined)) == (3, [1, 2, 2])


def test_a_model_that_writes_to_its_inputs_is_given_copies_from_then_on() -> None:
    bench = Bench()
    joined, pieces = bench.join(bench.job(1), bench.job(2))
    joined.values[0].add_(1)
    assert not bench.joining.release(joined)
    again = bench.joining.join(pieces)
    assert not bench.is_slice(again)
    again.values[0].add_(1)
    assert bench.joining.release(again)
    assert bench.store.block.arrays[0][:2, 0].tolist() == [2, 3]


def test_a_tensor_without_a_batch_dimension_keeps_its_shape() -> None:
    spec = signature({"x": TensorSpec("FP32", [2]), "n": TensorSpec("INT64", [])}, {"y": TensorSpec("FP32", [2])}, "")
    joining = Joining(Loaded(spec, lambda v: v), None, transfer_for("cpu"), 1)
    job = Job([np.array([1, 2], np.float32), np.array(5)], 1, None, math.inf, batched=False, arrived=0)
    joined = joining.join(pieces_of([job]))
    assert [value.tolist() for value in joined.values] == [[1, 2], 5]
