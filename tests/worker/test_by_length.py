from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

import pytest

from penstock.servable import Padding
from penstock.signature import TensorSpec
from penstock.worker.by_length import ByLength
from penstock.worker.padding import lay_out

from .conftest import VECTOR, signature

TEXT = signature({"ids": TensorSpec("INT64", ["batch", "length"])}, VECTOR)


@dataclass(frozen=True)
class Ids:
    shape: tuple[int, ...]


@dataclass(eq=False)
class Request:
    length: int
    rows: int = 1
    deadline: float = math.inf
    inputs: list[Ids] = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = [Ids((self.rows, self.length))]


def chosen(waiting: list[Request], rows: int, soon: float = 0.0, **padding: object) -> list[int]:
    """The lengths, sorted."""
    join = ByLength(lay_out(TEXT, Padding(**padding)))  # type: ignore[arg-type]
    return sorted(request.length for request in join(waiting, rows, soon))


def requests(*lengths: int) -> list[Request]:
    return [Request(length) for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "rows", "run"),
    [
        ([5], 4, [5]),
        ([5, 90, 7], 4, [5, 7, 90]),
        ([50, 10, 11, 49, 90, 51], 3, [49, 50, 51]),
        ([10, 50, 51, 49, 11, 12], 3, [10, 11, 12]),
        ([90, 10, 80, 11, 12], 2, [80, 90]),
    ],
    ids=["alone", "few: all", "like the first", "like the short first", "like the long first"],
)
def test_the_first_runs_with_those_of_its_length(lengths: list[int], rows: int, run: list[int]) -> None:
    assert chosen(requests(*lengths), rows) == run


def test_what_cannot_wait_for_another_batch_runs_whatever_its_length() -> None:
    waiting = requests(50, 10, 49, 51)
    waiting.append(Request(300, deadline=2.0))
    assert chosen(waiting, 3, soon=1.0) == [49, 50, 51]
    assert 300 in chosen(waiting, 3, soon=3.0)


def test_more_rows_are_better_than_less_filled_in() -> None:
    waiting = [Request(50), Request(50, rows=2), Request(80, rows=3)]
    assert chosen(waiting, 4) == [50, 80]
    assert chosen(waiting, 3) == [50, 50]


@pytest.mark.parametrize(
    ("most", "run"), [(0.0, [10, 10, 12, 100]), (0.7, [10, 10, 12, 100]), (0.5, [10, 10, 12]), (0.05, [10, 10])]
)
def test_a_batch_is_rather_small_than_filled_in_beyond_the_bound(most: float, run: list[int]) -> None:
    assert chosen(requests(10, 10, 12, 100), 8, max_pad_fraction=most) == run


def test_the_bound_also_holds_for_what_cannot_wait_but_the_first_always_runs() -> None:
    waiting = [Request(10, deadline=1.0), Request(100, deadline=1.0), Request(11, deadline=1.0)]
    assert chosen(waiting, 8, soon=5.0, max_pad_fraction=0.2) == [10, 11]


def test_what_a_bucket_takes_is_not_held_against_it() -> None:
    assert chosen(requests(10, 60, 30), 8, max_pad_fraction=0.1, buckets=(64,)) == [10, 30, 60]


def useful_share(join: ByLength | None, rows: int) -> float:
    """Of what a device computes under full load, with lengths as those of questions and paragraphs."""
    random, waiting, real, every = Random(1), list[Request](), 0, 0
    for _ in range(100):
        while len(waiting) < 4 * rows:
            waiting.append(Request(min(384, max(20, round(random.lognormvariate(math.log(150), 0.6))))))
        batch = list(join(waiting, rows, 0.0)) if join else waiting[:rows]
        assert waiting[0] in batch
        assert len(batch) == rows
        waiting = [request for request in waiting if request not in batch]
        real += sum(request.length for request in batch)
        every += rows * max(request.length for request in batch)
    return real / every


@pytest.mark.parametrize(("rows", "least"), [(8, 0.81), (32, 0.78)])
def test_choosing_by_length_wastes_far_less_than_first_come_first_served(rows: int, least: float) -> None:
    by_length, as_they_come = useful_share(ByLength(lay_out(TEXT, Padding())), rows), useful_share(None, rows)
    assert by_length >= least  # what a window of four batches gave in reference/performance.md 7
    assert by_length > 1.5 * as_they_come
