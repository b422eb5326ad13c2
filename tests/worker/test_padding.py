from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from penstock.errors import ModelLoadFailed
from penstock.servable import Padding
from penstock.signature import Dim, Signature, TensorShape, TensorSpec, fit
from penstock.worker.loaded import Loaded
from penstock.worker.padding import Layout, lay_out

from .conftest import VECTOR, signature

IDS = TensorSpec("INT64", ["batch", Dim("length", 1, 100)])
MASK = TensorSpec("BOOL", ["batch", "length"])
TEXT = signature(
    {"ids": IDS, "mask": MASK, "topic": TensorSpec("FP32", ["batch", 3])},
    {"each": TensorSpec("FP32", ["batch", "length", 2]), "all": TensorSpec("FP32", ["batch", 4])},
)
IMAGE = signature({"image": TensorSpec("UINT8", ["batch", "height", "width", 3])}, {"y": TensorSpec("FP32", ["batch"])})


def inputs(*shapes: Sequence[int]) -> list[Any]:
    return [np.zeros(shape) for shape in shapes]


def layout(padding: Padding, spec: Signature = TEXT) -> Layout:
    return lay_out(spec, padding)


def test_callers_do_not_send_masks() -> None:
    loaded = Loaded(TEXT, lambda values: values).padded(Padding(masks={"ids": "mask"}))
    assert [spec.name for spec in loaded.signature.inputs] == ["ids", "topic"]
    sent = [TensorShape("ids", None, (1, 7)), TensorShape("topic", None, (1, 3))]
    assert fit(loaded.signature, sent).violations == []
    unknown = fit(loaded.signature, [*sent, TensorShape("mask", None, (1, 7))]).violations
    assert [violation.description for violation in unknown] == ["unknown input 'mask'; the model takes 'ids', 'topic'"]


def test_a_model_without_padding_stays_as_it_is() -> None:
    loaded = Loaded(TEXT, lambda values: values)
    assert loaded.padded(None) is loaded


def test_a_batch_is_as_long_as_its_longest_request_in_every_dimension() -> None:
    made = layout(Padding(), IMAGE)
    assert made.free == ("height", "width")
    lengths = [made.lengths(inputs(shape)) for shape in ((1, 4, 9, 3), (2, 6, 5, 3))]
    assert lengths == [(4, 9), (6, 5)]
    assert made.longest(lengths) == (6, 9)
    assert made.elements((6, 9)) == 6 * 9 * 3
    assert made.shape(IMAGE.inputs[0], 3, (6, 9)) == (3, 6, 9, 3)


@pytest.mark.parametrize(
    ("length", "group", "filled_up_to"), [(1, 16, 16), (16, 16, 16), (17, 64, 64), (65, None, 65), (100, None, 100)]
)
def test_requests_of_one_bucket_are_a_group_and_longer_ones_another(
    length: int, group: int | None, filled_up_to: int
) -> None:
    made = layout(Padding(masks={"ids": "mask"}, buckets=(64, 16)))
    arrays = inputs((1, length), (1, 3))
    assert made.group(arrays) == (group,)
    assert made.longest([made.lengths(arrays)]) == (filled_up_to,)


def test_a_bucket_never_goes_beyond_what_the_model_takes() -> None:
    made = layout(Padding(buckets=(64, 128)), signature({"ids": IDS}, VECTOR))
    assert made.longest([(70,)]) == (100,)


@pytest.mark.parametrize(
    ("padding", "same"), [(None, False), (Padding(masks={"ids": "mask"}), True)], ids=["as they are", "filled up"]
)
def test_requests_of_different_lengths_are_a_group_if_they_are_filled_up(padding: Padding | None, same: bool) -> None:
    group = Loaded(TEXT, lambda values: values).padded(padding).grouping()
    short, long = (group(inputs((1, length), (1, 3))) for length in (5, 6))
    assert (short == long) is same


def test_requests_of_fixed_shapes_are_all_one_group() -> None:
    group = Loaded(signature(VECTOR, VECTOR), lambda values: values).grouping()
    assert group(inputs((1, 2))) == group(inputs((3, 2)))


def test_outputs_are_cut_where_a_dimension_has_the_name_of_an_input_s() -> None:
    made = layout(Padding(masks={"ids": "mask"}))
    each, all_ = TEXT.outputs
    assert made.cut(each, (5,)) == (slice(5), slice(None))
    assert made.cut(all_, (5,)) == (slice(None),)
    assert made.fits(each, (9,), (2, 9, 2))
    assert not made.fits(each, (9,), (2, 8, 2))
    assert not made.fits(each, (9,), (2, 9))


@pytest.mark.parametrize(
    ("spec", "padding", "message"),
    [
        (TEXT, Padding(masks={"ids": "masks"}), "the mask 'masks', which is not an input of the model"),
        (TEXT, Padding(masks={"id": "mask"}), "gives 'id' the mask 'mask', and the model has no input 'id'"),
        (TEXT, Padding(masks={"topic": "mask"}), r"the mask 'mask' is BOOL\[batch, length\]; a mask of FP32"),
        (TEXT, Padding(masks={"ids": "topic"}), "the mask 'topic' is "),
        (TEXT, Padding(masks={"ids": "ids"}), "no free dimension|has no input 'ids'"),
        (TEXT, Padding(value=0.5, masks={"ids": "mask"}), r"'ids' is INT64\[batch, length\], which cannot .* with 0.5"),
        (TEXT, Padding(value=2), r"'mask' is BOOL\[batch, length\], which cannot be filled up with 2"),
        (IMAGE, Padding(value=-1), "'image' is UINT8"),
        (TEXT, Padding(masks={"ids": "mask"}, buckets=(0, 8)), r"must be positive, got \[0, 8\]"),
        (TEXT, Padding(masks={"ids": "mask"}, max_pad_fraction=1), "at least 0 and below 1, got 1"),
        (signature(VECTOR, VECTOR), Padding(), "no input has a free dimension besides the batch"),
        (signature(VECTOR, VECTOR, ""), Padding(), "all begin with the batch dimension"),
    ],
)
def test_padding_that_does_not_fit_the_signature_is_refused(spec: Signature, padding: Padding, message: str) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        lay_out(spec, padding)
