from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penstock.client.request import question
from penstock.client.wire import duration, model_spec, varint
from penstock.signature import DType
from penstock.tensors import STORAGE, encode
from penstock.v1 import predict_pb2 as pb
from penstock.v1 import tensor_pb2

F32 = np.arange(6, dtype=np.float32).reshape(2, 3)
KINDS = [dtype for dtype in DType if dtype not in (DType.BF16, DType.BYTES)]


def by_protobuf(tensors: list[tensor_pb2.Tensor], outputs: Any = (), **choice: Any) -> bytes:
    spec = model_spec("m", **choice)
    return pb.PredictRequest(model_spec=spec, inputs=tensors, output_names=outputs).SerializeToString()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(), (0,), (1, 16), (2, 0, 3), (300,), (1, 3, 70, 70)])
def test_a_question_is_the_bytes_that_protobuf_makes(dtype: DType, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(STORAGE[dtype])
    for _ in range(2):  # once made, once remembered
        assert question("m", {"x": array}, None, None, None).body == by_protobuf([encode("x", array, dtype)])


@pytest.mark.parametrize(
    ("value", "array", "dtype"),
    [
        (F32.T, F32.T, DType.FP32),
        (F32[:, ::2], F32[:, ::2], DType.FP32),
        (F32.astype(">f4"), F32, DType.FP32),
        (np.float32(1.5), np.array(1.5, np.float32), DType.FP32),
        ([[1, 2]], np.array([[1, 2]]), DType.INT64),
        (["é", b"b\0"], np.array(["é".encode(), b"b\0"], object), DType.BYTES),
        ([], np.zeros(0, np.float32), DType.FP32),
        (np.array([], object), np.array([], object), DType.BYTES),
        (torch.tensor([[1.5]], dtype=torch.bfloat16), np.array([[0x3FC0]], np.uint16), DType.BF16),
        (torch.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T, DType.INT64),
    ],
)
def test_what_must_be_converted_is_the_bytes_that_protobuf_makes(value: Any, array: Any, dtype: DType) -> None:
    assert question("m", {"x": value}, None, None, None).body == by_protobuf([encode("x", array, dtype)])


@pytest.mark.parametrize("choice", [{}, {"version": 300}, {"alias": "canary"}])
@pytest.mark.parametrize("outputs", [None, (), ["y"], ("y", "é" * 100)])
def test_all_inputs_and_choices_stand_in_protobufs_order(choice: dict[str, Any], outputs: Any) -> None:
    values: dict[str, Any] = {"x": F32, "": np.int8(3), "é": np.zeros(200, np.uint8)}
    dtypes = (DType.FP32, DType.INT8, DType.UINT8)
    tensors = [encode(name, np.asarray(v), d) for (name, v), d in zip(values.items(), dtypes, strict=True)]
    asked = question("m", values, choice.get("version"), choice.get("alias"), outputs)
    assert asked.body == by_protobuf(tensors, outputs or (), **choice)
    assert question("m", {}, None, None, None).body == by_protobuf([])


def test_the_bytes_are_the_callers_no_more() -> None:
    array = np.ones(4, np.float32)
    asked = question("m", array, None, None, None)
    array[:] = 0
    assert asked.body == question("m", np.ones(4, np.float32), None, None, None).body


@given(st.floats(0, 1e9))
def test_a_duration_is_the_bytes_that_protobuf_makes(seconds: float) -> None:
    ticks = max(round(seconds * 10_000), 1)
    message = pb.PredictStreamRequest()
    message.timeout.FromNanoseconds(ticks * 100_000)
    assert duration(seconds) == message.timeout.SerializeToString()


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16383, 16384, 2**31 - 1])
def test_a_varint_is_the_bytes_that_protobuf_makes(value: int) -> None:
    message = pb.PredictRequest(inputs=[tensor_pb2.Tensor(shape=[value])]).inputs[0].SerializeToString()
    assert message == b"\x1a" + varint(len(varint(value))) + varint(value)
