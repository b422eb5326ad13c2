from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.v1 import model_pb2, tensor_pb2
from penstock.v1 import predict_pb2 as pb
from penstock.worker.templates import MAX_LITERAL_BYTES, Templates, literals, raw_places


def request(*raws: bytes) -> bytes:
    fp32 = tensor_pb2.DATA_TYPE_FP32
    tensors = [tensor_pb2.Tensor(name=f"x{i}", dtype=fp32, shape=[1, 2], raw=raw) for i, raw in enumerate(raws)]
    message = pb.PredictRequest(model_spec=model_pb2.ModelSpec(name="m"), inputs=tensors, output_names=["y"])
    return message.SerializeToString()


@given(raws=st.lists(st.binary(min_size=1, max_size=300), max_size=4), spec=st.text(max_size=200))
def test_the_places_of_raw_are_where_protobuf_wrote_it(raws: list[bytes], spec: str) -> None:
    message = pb.PredictRequest(model_spec=model_pb2.ModelSpec(name=spec, version=3), output_names=[spec])
    for raw in raws:
        message.inputs.add(name=spec, shape=[len(raw), 0, -1], raw=raw)
    encoded = message.SerializeToString()
    places = raw_places(encoded)
    assert places is not None
    assert [encoded[begin:end] for begin, end in places] == raws
    assert len(b"".join(literal for _, literal in literals(encoded, places))) == len(encoded) - sum(map(len, raws))


@given(st.binary(max_size=200))
def test_whatever_comes_is_refused_or_lies_within(message: bytes) -> None:
    for begin, end in raw_places(message) or ():
        assert 0 <= begin <= end <= len(message)


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_pb2.Tensor(name="x", floats=[1.0]).SerializeToString(),
        tensor_pb2.Tensor(raw=b"ab").SerializeToString() * 2,
        b"\x2b\x2c" + tensor_pb2.Tensor(raw=b"ab").SerializeToString(),
    ],
    ids=["none", "two", "group"],
)
def test_a_tensor_without_exactly_one_raw_is_not_understood(tensor: bytes) -> None:
    assert raw_places(b"\x12" + bytes([len(tensor)]) + tensor) is None


def test_a_message_of_the_same_layout_is_found_whatever_its_elements_are() -> None:
    templates: Templates[str] = Templates()
    first = request(b"12345678", b"abcdefgh")
    templates.learn(first, raw_places(first) or (), "known")
    assert templates.find(first) == "known"
    assert templates.find(request(b"________", b"........")) == "known"
    assert templates.find(memoryview(request(b"________", b"........"))) == "known"


@given(at=st.integers(0, 1000), byte=st.integers(1, 255))
def test_every_byte_that_is_no_element_counts(at: int, byte: int) -> None:
    templates: Templates[str] = Templates()
    first = request(b"12345678", b"abcdefgh")
    places = raw_places(first) or []
    templates.learn(first, places, "known")
    other = bytearray(first)
    other[at % len(first)] ^= byte
    within = any(begin <= at % len(first) < end for begin, end in places)
    assert (templates.find(bytes(other)) == "known") == within


def test_another_length_is_another_layout() -> None:
    templates: Templates[str] = Templates()
    first = request(b"12345678")
    templates.learn(first, raw_places(first) or (), "known")
    assert templates.find(request(b"1234567")) is None
    assert templates.find(b"") is None


def test_memory_is_bounded_and_the_latest_is_known() -> None:
    templates: Templates[int] = Templates()
    for number in range(3000):
        message = request(b"1" * (1 + number % 700)).replace(b"x0", b"%02d" % (number % 100))
        templates.learn(message, raw_places(message) or (), number)
        assert templates.find(message) == number
    assert sum(len(same) for same in templates._known.values()) <= 256


def test_what_is_padded_with_unknown_fields_is_not_remembered() -> None:
    templates: Templates[str] = Templates()
    message = request(b"12345678") + b"\xa2\x06" + b"\x80\x20" + bytes(MAX_LITERAL_BYTES)
    assert pb.PredictRequest.FromString(message).inputs[0].raw == b"12345678"
    templates.learn(message, raw_places(message) or (), "known")
    assert templates.find(message) is None
