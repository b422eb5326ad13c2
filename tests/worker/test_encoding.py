from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.signature import DType, TensorSpec
from penstock.tensors import STORAGE, Array, Form, encode
from penstock.v1 import model_pb2
from penstock.v1 import predict_pb2 as pb
from penstock.worker.encoding import Encoder

MODEL = model_pb2.ModelSpec(name="m", version=7)


def by_protobuf(arrays: list[Array], specs: list[TensorSpec], form: Form) -> bytes:
    tensors = [encode(spec.name, array, spec.dtype, form) for spec, array in zip(specs, arrays, strict=True)]
    return pb.PredictResponse(model_spec=MODEL, outputs=tensors).SerializeToString()


def both_ways(arrays: list[Array], specs: list[TensorSpec], form: Form = Form.RAW) -> None:
    """An answer is learned from the first, and each has protobuf's bytes."""
    encoder = Encoder(MODEL, list(enumerate(specs)), form)
    for _ in range(3):
        assert encoder(arrays) == by_protobuf(arrays, specs, form)
        arrays = [array[::-1] if array.ndim else array for array in arrays]


@given(
    rows=st.integers(0, 40),
    columns=st.integers(0, 300),
    dtype=st.sampled_from([dtype for dtype in DType if dtype is not DType.BYTES]),
)
def test_the_bytes_are_those_that_protobuf_writes(rows: int, columns: int, dtype: DType) -> None:
    array = np.arange(rows * columns).reshape(rows, columns).astype(STORAGE[dtype])
    both_ways([array, array[:, :1]], [TensorSpec(dtype, [], "y"), TensorSpec(dtype, [], "a longer name")])


@pytest.mark.parametrize("form", list(Form))
def test_every_form_and_bytes_go_through(form: Form) -> None:
    texts = np.array([[b"a"], [b"bc"]], object)
    numbers = np.array([[1.5], [2.5]], np.float32)
    both_ways([texts, numbers], [TensorSpec("BYTES", [], "t"), TensorSpec("FP32", [], "y")], form)


def test_a_scalar_has_no_shape() -> None:
    both_ways([np.array(1.5, np.float32)], [TensorSpec("FP32", [], "y")])


def test_what_a_model_gives_is_written_as_its_signature_says() -> None:
    encoder = Encoder(MODEL, [(0, TensorSpec("FP32", [], "y"))], Form.RAW)
    plain = encoder([np.array([[1, 2]], "<f4")])
    for other in (np.array([[1, 2]], ">f4"), np.array([[1, 2]], "i8"), np.array([[1, 9, 2, 9]], "<f4")[:, ::2]):
        assert encoder([other]) == plain


def test_each_shape_has_its_own_bytes() -> None:
    specs = [TensorSpec("FP32", [], "y")]
    encoder = Encoder(MODEL, list(enumerate(specs)), Form.RAW)
    for shape in [(1, 2), (2, 1), (2,), (1, 2), (128, 300), (2, 1)]:
        array = np.ones(shape, np.float32)
        assert encoder([array]) == by_protobuf([array], specs, Form.RAW)


def test_outputs_are_written_in_the_order_asked_for_also_twice() -> None:
    spec = [TensorSpec("FP32", [], "y"), TensorSpec("INT64", [], "n")]
    arrays = [np.array([1.0], np.float32), np.array([5])]
    encoder = Encoder(MODEL, [(1, spec[1]), (0, spec[0]), (1, spec[1])], Form.RAW)
    for _ in range(2):
        names = [tensor.name for tensor in pb.PredictResponse.FromString(encoder(arrays)).outputs]
        assert names == ["n", "y", "n"]
