from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from penstock.signature import TensorSpec
from penstock.tensors import STORAGE, stored
from penstock.worker.agreement import Tolerance, disagreement

NAN, INF = math.nan, math.inf
BY_TYPE = Tolerance()


def compared(dtype: str, got: Any, expected: Any, tolerance: Tolerance = BY_TYPE) -> str:
    """Of one output y[batch, 2]; arrays go as they are, lists as the type says."""
    spec = TensorSpec(dtype, ["batch", 2], "y")
    arrays = [each if isinstance(each, np.ndarray) else np.array(each, STORAGE[spec.dtype]) for each in (got, expected)]
    return disagreement([spec], [arrays[0]], [arrays[1]], tolerance)


@pytest.mark.parametrize(
    ("dtype", "got", "expected", "tolerance"),
    [
        ("FP32", [[1, 2]], [[1, 2]], Tolerance()),
        ("FP32", [[1000.9, 0]], [[1000, 0.00005]], Tolerance()),
        ("FP32", [[NAN, INF]], [[NAN, INF]], Tolerance(0, 0)),
        ("FP32", [[1.5, 2]], [[1, 2]], Tolerance(atol=0.5)),
        ("FP32", [[1.5, 2]], [[1, 2]], Tolerance(rtol=0.5)),
        ("FP64", [[1 + 5e-7, 2]], [[1, 2]], Tolerance()),
        ("FP16", [[1.009, 2]], [[1, 2]], Tolerance()),
        ("INT64", [[2**62 + 1, 0]], [[2**62 + 1, 0]], Tolerance()),
        ("BOOL", [[True, False]], [[True, False]], Tolerance()),
        ("BYTES", [[b"a", b""]], [[b"a", b""]], Tolerance()),
        ("FP32", np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), Tolerance(0, 0)),
    ],
)
def test_what_is_near_enough_agrees(dtype: str, got: Any, expected: Any, tolerance: Tolerance) -> None:
    assert compared(dtype, got, expected, tolerance) == ""


@pytest.mark.parametrize(
    ("dtype", "got", "expected", "tolerance", "said"),
    [
        (
            "FP32",
            [[1, 2], [3, 5]],
            [[1, 2.25], [3, 4]],
            Tolerance(),
            "output 'y' differs in 2 of 4 elements: at most by 1 at [1, 1] (5 instead of 4), relatively by 0.25 at "
            "[1, 1] (5 instead of 4); allowed are rtol 0.001, atol 0.0001",
        ),
        (
            "FP32",
            [[101, 0.5]],
            [[100, 0.25]],
            Tolerance(),
            "at most by 1 at [0, 0] (101 instead of 100), relatively by 1",
        ),
        ("FP32", [[0, 0.001]], [[0, 0]], Tolerance(), "relatively by inf at [0, 1] (0.001 instead of 0)"),
        ("FP32", [[1.5, 2]], [[1, 2]], Tolerance(rtol=0.4), "allowed are rtol 0.4, atol 0"),
        ("FP32", [[1, NAN]], [[1, 2]], Tolerance(1e9, 1e9), "1 of 2 elements: at [0, 1] there is nan instead of 2;"),
        ("FP32", [[1, 2]], [[NAN, 2]], Tolerance(1e9, 1e9), "at [0, 0] there is 1 instead of nan"),
        ("FP32", [[INF, 2]], [[-INF, 2]], Tolerance(1e9, 1e9), "at [0, 0] there is inf instead of -inf"),
        ("FP32", [[1, 2]], [[INF, 2]], Tolerance(1e9, 1e9), "at [0, 0] there is 1 instead of inf"),
        ("FP64", [[1 + 5e-6, 2]], [[1, 2]], Tolerance(), "differs in 1 of 2 elements"),
        (
            "INT64",
            [[2**62, 0]],
            [[2**62 + 1, 0]],
            Tolerance(1, 1),
            f"the first at [0, 0]: {2**62} instead of {2**62 + 1}",
        ),
        ("BOOL", [[True, True]], [[True, False]], Tolerance(1, 1), "the first at [0, 1]: True instead of False"),
        ("BYTES", [[b"a", b"b"]], [[b"a", b"c"]], Tolerance(), "the first at [0, 1]: b'b' instead of b'c'"),
        ("FP32", [[1, 2], [3, 4]], [[1, 2]], Tolerance(), "should have the shape [1, 2], and has [2, 2]"),
        ("FP32", [[1, 2, 3]], [[1, 2]], Tolerance(), "should be FP32[batch, 2], and the model gave float32[1, 3]"),
        ("FP32", np.ones((1, 2)), [[1, 1]], Tolerance(), "and the model gave float64[1, 2]"),
    ],
)
def test_what_is_not_says_what_how_far_and_where(
    dtype: str, got: Any, expected: Any, tolerance: Tolerance, said: str
) -> None:
    assert said in compared(dtype, got, expected, tolerance)


def test_bf16_is_compared_as_the_numbers_that_its_bits_mean() -> None:
    spec = TensorSpec("BF16", ["batch", 2], "y")
    bits = [
        stored(np.array([values], np.float32), spec.dtype) for values in ((1.0, 100.0), (1.01, 101.0), (1.0, 110.0))
    ]
    assert disagreement([spec], [bits[1]], [bits[0]], Tolerance()) == ""
    assert "at most by 10 at [0, 1] (110 instead of 100)" in disagreement([spec], [bits[2]], [bits[0]], Tolerance())


def test_the_first_output_that_is_wrong_is_named() -> None:
    specs = [TensorSpec("INT8", ["batch"], name) for name in ("a", "b", "c")]
    right, wrong = np.array([1], np.int8), np.array([2], np.int8)
    assert "output 'b'" in disagreement(specs, [right, wrong, wrong], [right] * 3, Tolerance())
