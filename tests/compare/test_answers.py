from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.compare.answers import Difference, compare
from penstock.signature import DType
from penstock.tensors import dtype_of, encode
from penstock.v1 import model_pb2, predict_pb2


def answer(version: int = 1, **outputs: Any) -> bytes:
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    tensors = [encode(name, array, dtype_of(array)) for name, array in arrays.items()]
    spec = model_pb2.ModelSpec(name="digits", version=version)
    return predict_pb2.PredictResponse(model_spec=spec, outputs=tensors).SerializeToString()


def floats(*rows: Any) -> Any:
    return np.array(rows, np.float32)


SCORES = floats([0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.0, 0.4, 0.6], [0.2, 0.2, 0.6])


def test_equal_answers_of_two_versions_do_not_differ() -> None:
    assert compare(answer(1, y=SCORES), answer(2, y=SCORES)) == Difference(False, 0.0, 0.0, 0.0, 4, 4)


def test_one_per_cent_more_is_found_and_the_winners_stay() -> None:
    found = compare(answer(y=SCORES), answer(2, y=SCORES * np.float32(1.01)))
    assert found.relative == pytest.approx(0.01, rel=1e-3)
    assert found.max_abs == pytest.approx(0.007, rel=1e-3)
    assert found.cosine_distance == pytest.approx(0.0, abs=1e-9)
    assert (found.rows, found.top1_rows) == (4, 4)


def test_another_winner_is_found() -> None:
    other = SCORES.copy()
    other[0] = [0.7, 0.1, 0.2]
    found = compare(answer(y=SCORES), answer(y=other))
    assert (found.rows, found.top1_rows) == (4, 3)
    assert found.max_abs == pytest.approx(0.6)
    assert found.cosine_distance > 0.1


def test_the_opposite_is_as_far_as_can_be() -> None:
    assert compare(answer(y=SCORES), answer(y=-SCORES)).cosine_distance == pytest.approx(2.0)


@pytest.mark.parametrize(
    "other",
    [answer(z=SCORES), answer(y=SCORES[:2]), answer(y=SCORES.astype(np.float64)), answer(), b"\xff", answer(y=[1, 2])],
)
def test_what_is_not_alike_is_mismatched(other: bytes) -> None:
    assert compare(answer(y=SCORES), other) == Difference(mismatched=True)


def test_several_outputs_count_with_the_worst_of_them() -> None:
    found = compare(answer(a=SCORES, b=SCORES * 100), answer(a=SCORES * np.float32(1.5), b=SCORES * 100))
    assert found.relative == pytest.approx(0.5)
    assert found.max_abs == pytest.approx(0.35)


def test_whole_numbers_agree_row_by_row() -> None:
    one, other = np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]])
    assert compare(answer(y=one), answer(y=other)) == Difference(False, 0.0, 0.0, 0.0, 2, 1)


def test_numbers_without_a_row_of_several_have_no_winner() -> None:
    found = compare(answer(y=floats(1.0, 2.0)), answer(y=floats(2.0, 1.0)))
    assert (found.rows, found.top1_rows, found.max_abs) == (2, 2, 1.0)


@pytest.mark.parametrize(
    ("one", "other", "max_abs", "relative"),
    [
        ([[1.0, np.nan]], [[1.0, np.nan]], 0.0, 0.0),
        ([[1.0, np.nan]], [[1.0, 2.0]], np.inf, np.inf),
        ([[1.0, np.inf]], [[1.0, np.inf]], 0.0, 0.0),
        ([[1.0, np.inf]], [[1.0, -np.inf]], np.inf, np.nan),
        ([[0.0, 0.0]], [[0.0, 1.0]], 1.0, np.inf),
        ([[0.0, 0.0]], [[0.0, 0.0]], 0.0, 0.0),
        ([[]], [[]], 0.0, 0.0),
    ],
)
def test_numbers_that_are_none_and_zeros(one: Any, other: Any, max_abs: float, relative: float) -> None:
    found = compare(answer(y=floats(*one)), answer(y=floats(*other)))
    assert found.max_abs == max_abs
    assert found.relative == relative or (np.isnan(relative) and not found.relative <= 1)
    assert 0.0 <= found.cosine_distance <= 2.0


def test_halves_of_floats_are_compared_as_what_they_mean() -> None:
    one, other = np.array([[0x3F80, 0x4000]], "<u2"), np.array([[0x3F80, 0x4040]], "<u2")  # 1, 2 and 1, 3
    made = [
        predict_pb2.PredictResponse(outputs=[encode("y", array, DType.BF16)]).SerializeToString()
        for array in (one, other)
    ]
    assert compare(*made).max_abs == 1.0
