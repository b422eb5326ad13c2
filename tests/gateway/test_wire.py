from __future__ import annotations

import pytest
from google.protobuf import empty_pb2
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.errors import MalformedRequest
from penstock.gateway.wire import field, fields, wrap
from penstock.v1 import model_pb2, predict_pb2, tensor_pb2

TENSORS = st.builds(
    tensor_pb2.Tensor,
    name=st.text(max_size=8),
    shape=st.lists(st.integers(0, 2**40), max_size=3),
    raw=st.binary(max_size=300),
)
REQUESTS = st.builds(
    predict_pb2.PredictRequest,
    model_spec=st.builds(model_pb2.ModelSpec, name=st.text(max_size=200), version=st.integers(-3, 2**60)),
    inputs=st.lists(TENSORS, max_size=4),
    output_names=st.lists(st.text(max_size=5), max_size=3),
)


@given(REQUESTS)
def test_the_first_field_is_what_protobuf_wrote_there(request: predict_pb2.PredictRequest) -> None:
    assert field(request.SerializeToString(), 1) == request.model_spec.SerializeToString()


@given(REQUESTS)
def test_every_field_is_found_in_its_place(request: predict_pb2.PredictRequest) -> None:
    message = request.SerializeToString()
    expected = [(1, request.model_spec.SerializeToString())]
    expected += [(2, tensor.SerializeToString()) for tensor in request.inputs]
    expected += [(3, name.encode()) for name in request.output_names]
    assert [(number, message[begin:end]) for number, begin, end in fields(message)] == expected


@given(st.integers(1, 2**29 - 1), st.binary(max_size=40_000))
def test_what_is_wrapped_is_read_back(number: int, content: bytes) -> None:
    assert field(wrap(number, content), number) == content


@given(st.binary(max_size=20_000))
def test_protobuf_reads_what_is_wrapped(content: bytes) -> None:
    assert predict_pb2.PredictStreamRequest.FromString(wrap(3, wrap(9, content))).HasField("request")


@given(st.binary(max_size=60))
def test_garbage_is_malformed_and_nothing_else(garbage: bytes) -> None:
    try:
        found = list(fields(garbage))
    except MalformedRequest:
        return
    assert all(0 < begin <= end <= len(garbage) and number for number, begin, end in found)


@given(st.binary(max_size=60))
@example(b"\xe5\x80\x80\x80\x10\x00\x00\x00\x00")  # a tag of 33 bits
@example(b"\x0a\x80\x80\x80\x80\x80\x00")  # a length in six bytes
@example(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")  # a number of 65 bits
def test_what_protobuf_refuses_at_the_top_level_is_refused_here_too(garbage: bytes) -> None:
    try:
        list(fields(garbage))
    except MalformedRequest:
        return
    # A message without known fields: protobuf then checks the structure only, as we do.
    try:
        empty_pb2.Empty.FromString(garbage)
    except DecodeError:
        pytest.fail(f"protobuf refuses {garbage!r}")


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a",  # a length is missing
        b"\x0a\x05abc",  # too short
        b"\x02\x00",  # field 0
        b"\x0b\x0c",  # a group
        b"\x0f",  # no such wire type
        b"\x08",  # a varint is missing
        b"\x08" + b"\xff" * 11,  # a varint without end
        b"\x09\x00",  # half a fixed64
        b"\x0d\x00",  # half a fixed32
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of 2^63
    ],
)
def test_a_broken_message_is_malformed(message: bytes) -> None:
    with pytest.raises(MalformedRequest, match="not a protobuf message"):
        list(fields(message))


def test_a_missing_field_is_none() -> None:
    assert field(b"", 1) is None
    assert field(wrap(2, b"x"), 1) is None


def test_a_field_behind_others_is_found() -> None:
    scalars = b"\x20\x01" + b"\x29" + bytes(8) + b"\x35" + bytes(4)
    assert field(scalars + wrap(2, b"tensor") + wrap(1, b"spec"), 1) == b"spec"
