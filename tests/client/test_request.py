from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from penstock import errors
from penstock.client.prediction import prediction
from penstock.client.request import question
from penstock.signature import DType
from penstock.tensors import STORAGE, Form, decode, encode
from penstock.v1 import predict_pb2 as pb
from penstock.v1 import tensor_pb2


def sent(value: Any) -> tuple[DType, list[int], Any]:
    (tensor,) = pb.PredictRequest.FromString(question("m", {"x": value}, None, None, None).body).inputs
    return DType(tensor.dtype), list(tensor.shape), decode(tensor, DType(tensor.dtype), "x").tolist()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([[1.5, 2.5]], (DType.FP32, [1, 2], [[1.5, 2.5]])),
        (1.5, (DType.FP32, [], 1.5)),
        ([1, 2.5], (DType.FP32, [2], [1.0, 2.5])),
        ([1, 2], (DType.INT64, [2], [1, 2])),
        (7, (DType.INT64, [], 7)),
        ((True, False), (DType.BOOL, [2], [True, False])),
        ([["é"], ["b"]], (DType.BYTES, [2, 1], [["é".encode()], [b"b"]])),
        ([b"a\0", "b"], (DType.BYTES, [2], [b"a\0", b"b"])),
        ("text", (DType.BYTES, [], b"text")),
        ([], (DType.FP32, [0], [])),
        (np.float64(1.5), (DType.FP64, [], 1.5)),
        (np.array([1.5]), (DType.FP64, [1], [1.5])),
        (np.array([1, 2], ">i4"), (DType.INT32, [2], [1, 2])),
        (np.array(["a", "bc"]), (DType.BYTES, [2], [b"a", b"bc"])),
        (np.arange(6, dtype="u1").reshape(2, 3).T, (DType.UINT8, [3, 2], [[0, 3], [1, 4], [2, 5]])),
        (torch.tensor([[1, 2]], dtype=torch.int8).T, (DType.INT8, [2, 1], [[1], [2]])),
        (torch.tensor(1.0, requires_grad=True), (DType.FP32, [], 1.0)),
    ],
)
def test_what_a_value_becomes_on_the_wire(value: Any, expected: Any) -> None:
    assert sent(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1], [1, 2]], "not an array"),
        ([1, "a"], "got int"),
        ([None], "got NoneType"),
        (np.array([1j]), "complex128"),
        (np.array([1, 2], object), "got int"),
        ({"a": 1}, "got dict"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(errors.InvalidTensor, match=message) as caught:
        question("m", {"pixels": value}, None, None, None)
    assert caught.value.violations[0].field == "inputs['pixels']"


def test_outputs_are_a_sequence_of_names() -> None:
    with pytest.raises(ValueError, match="sequence of names"):
        question("m", [1.0], None, None, "y")


def answer(dtype: DType, values: Any) -> pb.PredictResponse:
    return pb.PredictResponse(outputs=[encode("y", np.asarray(values, STORAGE[dtype]), dtype, Form.RAW)])


@pytest.mark.parametrize("shape", [(), (2,), (2, 2), (0,)])
def test_bf16_comes_as_float32_in_numpy(shape: tuple[int, ...]) -> None:
    found = prediction(answer(DType.BF16, np.full(shape, 0x3FC0)), torch=False)["y"]
    assert (found.dtype, found.shape) == (np.float32, shape)
    assert np.all(found == 1.5)


def test_an_answer_that_is_no_tensor_is_the_servers_fault() -> None:
    short = tensor_pb2.Tensor(name="y", dtype=tensor_pb2.DATA_TYPE_FP32, shape=[2], raw=b"1234")
    unknown = tensor_pb2.Tensor(name="y", shape=[0])
    for tensor in (short, unknown):
        with pytest.raises(errors.Internal, match="output 'y'"):
            prediction(pb.PredictResponse(outputs=[tensor]), torch=False)


def test_the_client_brings_in_no_torch() -> None:
    code = (
        "import sys, penstock.client; penstock.client.Client('127.0.0.1:1').close(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_package_brings_in_neither_torch_nor_numpy() -> None:
    code = "import sys, penstock; assert not {'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
