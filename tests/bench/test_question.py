from __future__ import annotations

import numpy as np
import pytest

from penstock.bench.question import free_dims, questions
from penstock.errors import InvalidArgument
from penstock.signature import Dim, DType, Signature, TensorSpec
from penstock.tensors import decode
from penstock.v1 import model_pb2
from penstock.v1 import predict_pb2 as pb

SPEC = model_pb2.ModelSpec(name="bert")
LENGTH = Dim("length", 2, 8)
SIGNATURE = Signature(
    (
        TensorSpec("INT64", ["batch", LENGTH], "ids"),
        TensorSpec("FP32", ["batch", 3, Dim("free")], "x"),
        TensorSpec("BYTES", ["batch"], "text"),
    ),
    (TensorSpec("FP32", ["batch", 2], "y"),),
    "batch",
)


def test_inputs_are_made_from_the_signature() -> None:
    made = questions(SPEC, SIGNATURE, rows=5)
    request = pb.PredictRequest.FromString(made.bodies[0])
    assert request.model_spec == SPEC
    assert [(t.name, tuple(t.shape)) for t in request.inputs] == [("ids", (5, 8)), ("x", (5, 3, 16)), ("text", (5,))]
    ids = decode(request.inputs[0], DType.INT64, "ids")
    assert set(np.unique(ids)) <= {0, 1}
    assert made.rows == 5


def test_requests_differ_in_values_and_not_in_length() -> None:
    made = questions(SPEC, SIGNATURE, variants=3)
    assert len(set(made.bodies)) == 3
    assert len({len(body) for body in made.bodies}) == 1


def test_sizes_of_free_dimensions_can_be_chosen() -> None:
    made = questions(SPEC, SIGNATURE, sizes={"length": 3, "free": 1})
    assert made.shapes == {"ids": (1, 3), "x": (1, 3, 1), "text": (1,)}


def test_an_unknown_dimension_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"'width' is no free dimension.*length \(2 to 8\), free \(0 to any\)"):
        questions(SPEC, SIGNATURE, sizes={"width": 3})


def test_a_size_that_the_model_does_not_take_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="length must be at most 8, got 9"):
        questions(SPEC, SIGNATURE, sizes={"length": 9})


def test_given_arrays_are_sent_as_they_are_and_say_how_many_rows() -> None:
    ids, x = np.full((4, 2), 7, np.int64), np.zeros((4, 3, 1), np.float32)
    text = np.array([b"a", b"bc", b"", b"d"], object)
    made = questions(SPEC, SIGNATURE, given={"ids": ids, "x": x, "text": text})
    (body,) = made.bodies
    assert made.rows == 4
    assert (decode(pb.PredictRequest.FromString(body).inputs[0], DType.INT64, "ids") == 7).all()


def test_a_given_array_that_does_not_fit_the_others_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="batch is"):
        questions(SPEC, SIGNATURE, rows=1, given={"ids": np.zeros((4, 2), np.int64)})


def test_an_array_for_no_input_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="unknown input 'z'"):
        questions(SPEC, SIGNATURE, given={"z": np.zeros(1)})


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype is not DType.BYTES])
def test_every_element_type_can_be_made(dtype: DType) -> None:
    signature = Signature((TensorSpec(dtype, ["batch", 2], "x"),), (), "batch")
    tensor = pb.PredictRequest.FromString(questions(SPEC, signature).bodies[0]).inputs[0]
    values = decode(tensor, dtype, "x").astype(float)
    assert values.shape == (1, 2)


def test_the_narrowest_bounds_of_a_shared_dimension_hold() -> None:
    signature = Signature((TensorSpec("FP32", [Dim("n", 1, 9)], "a"), TensorSpec("FP32", [Dim("n", 3)], "b")), ())
    assert free_dims(signature) == {"n": Dim("n", 3, 9)}
