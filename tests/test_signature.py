from __future__ import annotations

import pytest

from penstock.signature import MAX_VIOLATIONS, Dim, DType, Signature, TensorShape, TensorSpec, fit

PAIR = Signature(
    (TensorSpec("FP32", ["batch", 4], "x"), TensorSpec("INT64", ["batch", "length"], "ids")),
    (TensorSpec("FP32", ["batch"], "y"),),
    "batch",
)
BOUNDED = Signature((TensorSpec("FP32", ["batch", Dim("length", 2, 8), 3], "x"),), (), "batch")
FREE = Signature((TensorSpec("FP32", ["n", "n"], "x"),), ())
CAPPED = Signature((TensorSpec("FP32", [Dim("batch", 2, 8)], "x"),), (), "batch")


def x(*shape: int, name: str = "x", dtype: DType | None = DType.FP32) -> TensorShape:
    return TensorShape(name, dtype, shape)


def ids(*shape: int) -> TensorShape:
    return TensorShape("ids", DType.INT64, shape)


@pytest.mark.parametrize(
    ("signature", "tensors", "order", "rows"),
    [
        (PAIR, [x(3, 4), ids(3, 7)], [0, 1], 3),
        (PAIR, [ids(3, 7), x(3, 4)], [1, 0], 3),
        (PAIR, [x(1, 4, dtype=None), ids(1, 0)], [0, 1], 1),
        (BOUNDED, [x(5, 2, 3)], [0], 5),
        (BOUNDED, [x(5, 8, 3, name="")], [0], 5),
        (FREE, [x(0, 0)], [0], 1),
        (CAPPED, [x(9)], [0], 9),
        (Signature((), ()), [], [], 1),
    ],
)
def test_what_fits(signature: Signature, tensors: list[TensorShape], order: list[int], rows: int) -> None:
    found = fit(signature, tensors)
    assert (found.order, found.rows, found.violations) == (order, rows, [])


@pytest.mark.parametrize(
    ("signature", "tensors", "expected"),
    [
        (PAIR, [x(1, 4)], [("inputs", "input 'ids' is missing; it takes INT64[batch, length]")]),
        (
            PAIR,
            [],
            [
                ("inputs", "input 'x' is missing; it takes FP32[batch, 4]"),
                ("inputs", "input 'ids' is missing; it takes INT64[batch, length]"),
            ],
        ),
        (
            PAIR,
            [x(1, 4), ids(1, 1), x(1, name="z")],
            [("inputs[2].name", "unknown input 'z'; the model takes 'x', 'ids'")],
        ),
        (
            PAIR,
            [x(1, 4), ids(1, 1), x(1, 4)],
            [("inputs[2].name", "input 'x' is there twice, first as inputs[0]")],
        ),
        (
            PAIR,
            [x(1, 4, name=""), ids(1, 1)],
            [
                ("inputs[0].name", "unknown input ''; the model takes 'x', 'ids'"),
                ("inputs", "input 'x' is missing; it takes FP32[batch, 4]"),
            ],
        ),
        (
            PAIR,
            [x(1, 4, dtype=DType.FP64), ids(1, 1)],
            [("inputs[0].dtype", "input 'x' takes FP32[batch, 4], got FP64")],
        ),
        (
            PAIR,
            [x(4), ids(1, 1)],
            [("inputs[0].shape", "input 'x' takes FP32[batch, 4], got shape [4]: 2 dimensions expected")],
        ),
        (
            PAIR,
            [x(1, 5), ids(1, 1)],
            [("inputs[0].shape[1]", "input 'x' takes FP32[batch, 4], got [1, 5]: expected 4, got 5")],
        ),
        (
            PAIR,
            [x(2, 4), ids(3, 1)],
            [
                (
                    "inputs[1].shape[0]",
                    "input 'ids' takes INT64[batch, length], got [3, 1]: batch is 2 in inputs[0].shape[0], here 3",
                )
            ],
        ),
        (
            BOUNDED,
            [x(0, 2, 3)],
            [
                (
                    "inputs[0].shape[0]",
                    "input 'x' takes FP32[batch, length, 3], got [0, 2, 3]: batch must be at least 1, got 0",
                )
            ],
        ),
        (
            BOUNDED,
            [x(1, 1, 3)],
            [
                (
                    "inputs[0].shape[1]",
                    "input 'x' takes FP32[batch, length, 3], got [1, 1, 3]: length must be at least 2, got 1",
                )
            ],
        ),
        (
            BOUNDED,
            [x(1, 9, 2)],
            [
                (
                    "inputs[0].shape[1]",
                    "input 'x' takes FP32[batch, length, 3], got [1, 9, 2]: length must be at most 8, got 9",
                ),
                ("inputs[0].shape[2]", "input 'x' takes FP32[batch, length, 3], got [1, 9, 2]: expected 3, got 2"),
            ],
        ),
        (
            FREE,
            [x(2, 3)],
            [("inputs[0].shape[1]", "input 'x' takes FP32[n, n], got [2, 3]: n is 2 in inputs[0].shape[0], here 3")],
        ),
        (FREE, [x(-1, -1)], [("inputs[0].shape[0]", None), ("inputs[0].shape[1]", None)]),
        (CAPPED, [x(1)], [("inputs[0].shape[0]", None)]),
        (Signature((), ()), [x(1)], [("inputs[0].name", "unknown input 'x'; the model takes none")]),
    ],
)
def test_what_does_not_fit_is_named(
    signature: Signature, tensors: list[TensorShape], expected: list[tuple[str, str | None]]
) -> None:
    found = fit(signature, tensors).violations
    assert [(v.field, v.description) for v in found] == [
        (field, text or v.description) for (field, text), v in zip(expected, found, strict=True)
    ]


def test_all_that_is_wrong_is_said_up_to_a_bound() -> None:
    tensors = [x(1, name=f"no{n}") for n in range(MAX_VIOLATIONS * 2)]
    assert len(fit(PAIR, tensors).violations) == MAX_VIOLATIONS


def test_a_long_name_is_cut_in_the_message() -> None:
    (unknown, _) = fit(FREE, [x(1, 1, name="n" * 1000)]).violations
    assert len(unknown.description) < 150


def test_a_spec_reads_as_people_write_it() -> None:
    assert str(TensorSpec("BF16", ["batch", Dim("length", 1, 8), 3])) == "BF16[batch, length, 3]"
    assert TensorSpec(DType.FP32, [1]) == TensorSpec("FP32", (1,))


def test_a_spec_with_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown dtype 'float32'; known are BOOL, .* BYTES"):
        TensorSpec("float32", [1])


def test_a_spec_with_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="name a free dimension instead"):
        TensorSpec("FP32", [-1, 16])
