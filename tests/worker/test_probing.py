from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from penstock.errors import ModelLoadFailed
from penstock.signature import parse_spec
from penstock.worker.formats.declared import signature_of
from penstock.worker.formats.probing import Run, probe


def model(function: Callable[..., Any]) -> Run:
    return lambda values: {"y": function(*values)}


def described(function: Callable[..., Any], *inputs: str) -> tuple[list[str], str]:
    found = probe(model(function), [parse_spec(text) for text in inputs], "cpu")
    return [str(spec) for spec in found.inputs], str(found.outputs[0])


@pytest.mark.parametrize(
    ("function", "inputs", "output"),
    [
        (lambda x: x + 1, ["x=FP32[batch,4]"], "FP32[batch, 4]"),
        (lambda x: x + 1, ["x=FP32[batch,length]"], "FP32[batch, length]"),
        (lambda x: x.sum(1), ["x=INT64[batch,length]"], "INT64[batch]"),
        (lambda x: torch.cat([x, x], 1), ["x=FP32[batch,length]"], "FP32[batch, y_1]"),
        (lambda x: x[:, ::2], ["x=FP32[batch,length]"], "FP32[batch, y_1]"),
        (lambda x: x.flatten(), ["x=FP32[batch,length]"], "FP32[y_0]"),
        (lambda x: x.mean(), ["x=FP32[batch,4]"], "FP32[]"),
        (lambda x: x @ x.T, ["x=FP32[batch,4]"], "FP32[batch, batch]"),
        (lambda x: x.bfloat16(), ["x=FP32[2,4]"], "BF16[2, 4]"),
        (lambda a, b: a[:, :, None] * b[:, None], ["a=FP32[batch,n]", "b=FP32[batch,m]"], "FP32[batch, n, m]"),
        (lambda a, b: torch.cat([a, b], 1), ["a=FP32[batch,n]", "b=FP32[batch,m]"], "FP32[batch, y_1]"),
        (lambda t: np.array([[e.upper() for e in row] for row in t]), ["t=BYTES[batch,2]"], "BYTES[batch, 2]"),
    ],
)
def test_what_follows_a_free_dimension_has_its_name(function: Any, inputs: Sequence[str], output: str) -> None:
    assert described(function, *inputs)[1] == output


def test_dimensions_that_can_only_change_together_are_one() -> None:
    inputs, output = described(lambda ids, mask: ids * mask, "ids=INT64[batch,ids_1]", "mask=INT64[batch,mask_1]")
    assert inputs == ["INT64[batch, ids_1]"] * 2
    assert output == "INT64[batch, ids_1]"


def test_a_batch_that_also_stands_elsewhere_is_not_joined() -> None:
    inputs = [parse_spec("x=FP32[batch,4]")]
    for function, batch in ((lambda x: x @ x.T, ""), (lambda x: x + 1, "batch")):
        found = probe(model(function), inputs, "cpu")
        assert signature_of(found.inputs, found.outputs).batch == batch


def refuses(rows: int, length: int) -> Callable[..., Any]:
    def function(x: torch.Tensor) -> torch.Tensor:
        if len(x) >= rows or x.shape[1] >= length:
            raise ValueError("more than I take")
        return x

    return function


@pytest.mark.parametrize(
    ("rows", "length", "shape"), [(2, 99, "[2, 8]"), (3, 99, "[3, 8]"), (9, 8, "[2, 8]"), (9, 9, "[2, 16]")]
)
def test_a_model_that_cannot_take_what_is_declared_says_on_which_shapes(rows: int, length: int, shape: str) -> None:
    with pytest.raises(ModelLoadFailed) as failed:
        described(refuses(rows, length), "x=FP32[batch,length]")
    assert f"cannot be run on zeros of x={shape}: ValueError: more than I take" in failed.value.message


def test_an_output_whose_number_of_dimensions_changes_is_refused() -> None:
    with pytest.raises(ModelLoadFailed, match="'y' has not always 2 dimensions"):
        described(lambda x: x if len(x) == 2 else x[0], "x=FP32[batch,4]")


def test_a_type_that_the_wire_does_not_have_is_refused() -> None:
    with pytest.raises(ModelLoadFailed, match=r"'y': torch\.complex64 has no counterpart"):
        described(lambda x: x.to(torch.complex64), "x=FP32[batch,4]")
