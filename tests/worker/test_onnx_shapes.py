from __future__ import annotations

import pytest

from penstock.errors import ModelLoadFailed
from penstock.signature import Dim, DType, TensorSpec, parse_spec
from penstock.worker.formats.onnx_shapes import (
    Argument,
    Size,
    input_specs,
    is_open,
    meanings,
    narrowed,
    output_spec,
)


def arguments(*shapes: tuple[Size, ...]) -> list[Argument]:
    return [Argument(name, DType.FP32, shape) for name, shape in zip("abc", shapes, strict=False)]


def shapes(specs: tuple[TensorSpec, ...]) -> list[str]:
    return [str(spec).removeprefix("FP32") for spec in specs]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([("N", 3)], ["[batch, 3]"]),
        ([(None, 3)], ["[batch, 3]"]),
        ([("unk__12", 3), ("unk__13", 4)], ["[batch, 3]", "[batch, 4]"]),
        ([("N", "T"), ("N", "T")], ["[batch, T]", "[batch, T]"]),
        ([("N", None), ("N", None)], ["[batch, a_1]", "[batch, b_1]"]),
        ([("N", "T"), (None, "T")], ["[batch, T]", "[batch, T]"]),
        ([("M", 3), ("N", 3)], ["[M, 3]", "[N, 3]"]),
        ([("N", 3), (1, 3)], ["[N, 3]", "[1, 3]"]),
        ([("N", 3), ()], ["[N, 3]", "[]"]),
        ([("N", "N")], ["[N, N]"]),
        ([("T", "batch", 3)], ["[batch, batch, 3]"]),
        ([(1, 3)], ["[1, 3]"]),
        ([], []),
    ],
)
def test_the_batch_is_what_all_inputs_have_first(given: list[tuple[Size, ...]], expected: list[str]) -> None:
    assert shapes(input_specs(arguments(*given))) == expected


@pytest.mark.parametrize(
    ("given", "declared", "expected"),
    [
        ([("N", "T")], ["a=FP32[batch,length]"], ["[batch, length]"]),
        ([("N", "T")], ["a=FP32[batch,16]"], ["[batch, 16]"]),
        ([("N", "T")], ["a=FP32[4,16]"], ["[4, 16]"]),
        ([("N", "T")], ["a=FP32[rows,T]"], ["[rows, T]"]),
        ([("N", "T"), ("N", "T")], ["a=FP32[batch,a_1]", "b=FP32[batch,b_1]"], ["[batch, a_1]", "[batch, a_1]"]),
        ([("N", "T"), ("N", "T")], ["a=FP32[batch,16]"], ["[batch, 16]", "[batch, 16]"]),
        ([("M", 3), ("N", 3)], ["a=FP32[batch,3]", "b=FP32[batch,3]"], ["[batch, 3]", "[batch, 3]"]),
        ([(1, 3)], ["a=FP32[batch,3]"], ["[1, 3]"]),
        ([()], ["a=FP32[batch,3]"], ["[batch, 3]"]),
        ([()], ["a=FP32[]"], ["[]"]),
        ([("N", 3)], [], ["[batch, 3]"]),
    ],
)
def test_what_is_declared_names_and_narrows_what_the_model_says(
    given: list[tuple[Size, ...]], declared: list[str], expected: list[str]
) -> None:
    assert shapes(narrowed(input_specs(arguments(*given)), [parse_spec(text) for text in declared])) == expected


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("a=FP32[batch,4]", r"input 'a' is declared FP32\[batch, 4\], and the model takes FP32\[batch, 3\]"),
        ("a=FP64[batch,3]", "is declared FP64"),
        ("a=FP32[batch,3,1]", "is declared FP32"),
        ("z=FP32[batch,3]", r"\['z'\] are declared, and the model takes \['a'\]"),
    ],
)
def test_what_is_declared_otherwise_than_the_model_says_is_refused(declared: str, message: str) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        narrowed(input_specs(arguments(("N", 3))), [parse_spec(declared)])


def test_two_sizes_for_one_name_are_refused() -> None:
    with pytest.raises(ModelLoadFailed, match="'b' is declared"):
        narrowed(
            input_specs(arguments(("N", "T"), ("N", "T"))),
            [parse_spec("a=FP32[batch,3]"), parse_spec("b=FP32[batch,4]")],
        )


@pytest.mark.parametrize(
    ("output", "found", "expected"),
    [
        (("N", 5), None, "[batch, 5]"),
        (("N", "T"), None, "[batch, length]"),
        (("N", "F"), None, "[batch, 16]"),
        (("out_0", 5), "y=FP32[batch,5]", "[batch, 5]"),
        ((None, "k"), "y=FP32[batch,length]", "[batch, length]"),
        (("N", None), "y=FP32[batch,7]", "[batch, y_1]"),
        (("N", None), "y=FP32[batch,y_1]", "[batch, y_1]"),
        ((), "y=FP32[batch,7]", "[batch, 7]"),
        ((), "y=FP32[]", "[]"),
    ],
)
def test_what_the_model_leaves_open_of_its_outputs_is_taken_from_what_was_found(
    output: tuple[Size, ...], found: str | None, expected: str
) -> None:
    taken = arguments(("N", "T", "F"))
    known = meanings(taken, narrowed(input_specs(taken), [parse_spec("a=FP32[batch,length,16]")]))
    assert known == {"N": Dim("batch"), "T": Dim("length"), "F": 16}
    argument = Argument("y", DType.FP32, output)
    assert is_open(argument, known) == (found is not None)
    assert shapes((output_spec(argument, known, parse_spec(found) if found else None),)) == [expected]
