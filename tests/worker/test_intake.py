from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pytest

from penstock import errors
from penstock.signature import Dim, DType, Signature, TensorSpec
from penstock.tensors import Array, encode
from penstock.v1 import predict_pb2 as pb
from penstock.v1 import tensor_pb2
from penstock.worker.intake import Intake

SIGNATURE = Signature(
    (TensorSpec("FP32", ["batch", 2], "x"), TensorSpec("INT64", ["batch", Dim("length", 1, 9)], "n")),
    (TensorSpec("FP32", ["batch", 2], "y"), TensorSpec("FP32", ["batch"], "total")),
    "batch",
)
TEXTS = Signature((TensorSpec("BYTES", ["batch"], "t"),), (TensorSpec("BYTES", ["batch"], "u"),), "batch")


def shapes(arrays: Sequence[Array]) -> Hashable:
    return tuple(array.shape[1:] for array in arrays)


def intake(signature: Signature = SIGNATURE) -> Intake:
    return Intake("m", 3, signature, shapes)


def request(*tensors: tensor_pb2.Tensor, names: Sequence[str] = ()) -> bytes:
    return pb.PredictRequest(inputs=tensors, output_names=names).SerializeToString()


def x(rows: int = 1, value: float = 0.0, **more: Any) -> tensor_pb2.Tensor:
    return encode("x", np.full((rows, 2), value, np.float32), DType.FP32)


def n(rows: int = 1, length: int = 3, value: int = 0) -> tensor_pb2.Tensor:
    return encode("n", np.full((rows, length), value), DType.INT64)


def test_inputs_come_in_the_order_of_the_signature() -> None:
    reads = intake()
    for _ in range(2):
        inputs, reading = reads.read(request(n(4, value=7), x(4, 1.5)))
        assert [array.shape for array in inputs] == [(4, 2), (4, 3)]
        assert (inputs[0] == 1.5).all()
        assert (inputs[1] == 7).all()
        assert (reading.rows, reading.key) == (4, ((2,), (3,)))


def test_a_layout_that_was_seen_before_is_read_without_a_copy() -> None:
    reads = intake()
    reads.read(request(x(), n()))
    again = bytearray(request(x(value=2.5), n(value=9)))
    inputs, _ = reads.read(memoryview(again))
    assert inputs[0].tolist() == [[2.5, 2.5]]
    at = bytes(again).index(np.float32(2.5).tobytes())
    again[at : at + 4] = np.float32(8).tobytes()
    assert inputs[0].tolist() == [[8, 2.5]]
    assert np.shares_memory(inputs[0], np.frombuffer(again, np.uint8))


def test_what_was_learned_gives_what_protobuf_gives() -> None:
    learned = intake()
    for rows in (1, 2, 3, 1, 2, 3, 4):
        for names in ((), ("total",)):
            message = request(x(rows, rows), n(rows, value=rows), names=names)
            inputs, reading = learned.read(message)
            plain, other = intake().read(message)
            assert [array.tolist() for array in inputs] == [array.tolist() for array in plain]
            assert [array.dtype for array in inputs] == [array.dtype for array in plain]
            assert (reading.rows, reading.key) == (other.rows, other.key)
            outputs = [np.ones((rows, 2), np.float32), np.ones(rows, np.float32)]
            assert reading.encode(outputs) == other.encode(outputs)


def test_a_mistake_is_found_also_after_good_requests_of_the_same_length() -> None:
    reads = intake()
    good = request(x(), n())
    reads.read(good)
    for wrong, right, error in [
        (b"x", b"n", errors.InvalidTensor),
        (b"\x0b", b"\x0c", errors.InvalidTensor),
    ]:
        with pytest.raises(error):
            reads.read(good.replace(wrong, right, 1))
    with pytest.raises(errors.InvalidTensor, match="length must be at most 9"):
        reads.read(request(x(), n(length=10)))


def test_bytes_that_are_no_request_are_refused() -> None:
    reads = intake()
    good = request(x(), n())
    reads.read(good)
    for bad in (b"\xff\xff", good[:-1], b"\x12\x05abc"):
        with pytest.raises(errors.MalformedRequest):
            reads.read(bad)
        with pytest.raises(errors.MalformedRequest):
            reads.read(memoryview(bad))


def test_texts_and_typed_lists_are_read_and_answered_in_their_form() -> None:
    reads = intake(TEXTS)
    for values in ([b"a", b"bcd"], [b"", b"xyzw"]):
        inputs, reading = reads.read(request(encode("t", np.array(values, object), DType.BYTES)))
        assert inputs[0].tolist() == values
        answer = pb.PredictResponse.FromString(reading.encode(inputs))
        assert answer.outputs[0].raw
        inputs, reading = reads.read(request(tensor_pb2.Tensor(shape=[2], strings=[v.decode() for v in values])))
        assert list(pb.PredictResponse.FromString(reading.encode(inputs)).outputs[0].strings) == [
            v.decode() for v in values
        ]


def test_an_empty_tensor_is_read_again_and_again() -> None:
    reads = Intake("m", 1, Signature((TensorSpec("FP32", ["n"], "x"),), (), ""), shapes)
    for _ in range(2):
        inputs, reading = reads.read(request(tensor_pb2.Tensor(name="x", shape=[0])))
        assert inputs[0].shape == (0,)
        assert (reading.rows, reading.key) == (1, None)


def test_memory_is_bounded_whatever_callers_ask_for() -> None:
    reads = intake()
    for number in range(1100):
        names = ["y", "total"] * (number % 20) + ["y"] * (number // 20 % 60)
        reads.read(request(x(1 + number % 7), n(1 + number % 7), names=names))
    assert len(reads._encoders) <= 1024
    with pytest.raises(errors.InvalidTensor):
        reads.read(request(x(), n(), names=["z"]))
