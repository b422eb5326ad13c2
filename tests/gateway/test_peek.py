from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidArgument, MalformedRequest
from penstock.gateway import peek
from penstock.gateway.peek import Target, rows, target
from penstock.gateway.wire import wrap
from penstock.v1 import model_pb2, predict_pb2, tensor_pb2

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,20})", fullmatch=True)


def asking(**spec: object) -> bytes:
    tensor = tensor_pb2.Tensor(name="x", raw=b"12345678")
    return predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(**spec),  # type: ignore[arg-type]
        inputs=[tensor],
    ).SerializeToString()


@given(NAMES, st.integers(1, 2**62))
def test_a_version_is_read(name: str, version: int) -> None:
    assert target(asking(name=name, version=version)) == Target(name, version, "")


@given(NAMES, NAMES)
def test_an_alias_is_read(name: str, alias: str) -> None:
    assert target(asking(name=name, alias=alias)) == Target(name, 0, alias)


def test_nothing_set_means_stable() -> None:
    assert target(asking(name="digits")) == Target("digits", 0, "stable")


@given(st.binary(max_size=80))
def test_whatever_the_bytes_are_there_is_a_legal_target_or_an_error_of_ours(garbage: bytes) -> None:
    try:
        found = target(garbage)
    except InvalidArgument:
        return
    spec = predict_pb2.PredictRequest.FromString(garbage).model_spec
    assert found.name == spec.name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "../x",
        "/etc",
        "a/../b",
        "a\0b",
        "a" * 10_000,
        "a" * 129,
        "d\u0456gits",  # a Cyrillic letter
        "digits\uff11",  # a full-width digit
        "digits\u0663",  # an Arabic digit
        ".",
        "..",
        "a..b",
        ".hidden",
        "-flag",
        "Digits",
        "a b",
        "a\n",
        "a%2fb",
    ],
)
def test_a_name_that_could_be_something_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        target(asking(name=name))
    assert refused.value.violations[0].field == "model_spec.name"
    assert len(refused.value.message) < 400
    with pytest.raises(InvalidArgument):
        target(asking(name="digits", alias=name))


@pytest.mark.parametrize("version", [0, -1, -(2**63)])
def test_a_version_is_a_positive_number(version: int) -> None:
    with pytest.raises(InvalidArgument, match="positive"):
        target(asking(name="digits", version=version))


@pytest.mark.parametrize("name", ["a", "0", "a.b-c_d", "a" * 128])
def test_a_legal_name_passes(name: str) -> None:
    assert target(asking(name=name)).name == name


def test_a_spec_that_is_no_message_is_malformed() -> None:
    with pytest.raises(MalformedRequest, match="ModelSpec"):
        target(wrap(1, b"\xff\xff"))


def test_a_name_that_is_not_utf8_is_malformed() -> None:
    with pytest.raises(MalformedRequest):
        target(wrap(1, wrap(1, b"\xff\xfe")))


def test_a_padded_spec_is_read_but_not_remembered() -> None:
    before = peek._remembered.cache_info().currsize
    padded = wrap(1, wrap(1, b"padded-model") + wrap(100, bytes(1_000_000)))
    assert target(padded) == Target("padded-model")
    assert peek._remembered.cache_info().currsize == before


def tensors(*shapes: list[int], spec: bool = True, **more: Any) -> bytes:
    inputs = [tensor_pb2.Tensor(shape=shape, raw=bytes(100_000), **more) for shape in shapes]
    named = model_pb2.ModelSpec(name="digits") if spec else None
    return predict_pb2.PredictRequest(model_spec=named, inputs=inputs).SerializeToString()


@pytest.mark.parametrize("more", [{}, {"name": "x"}, {"dtype": 11}, {"name": "x" * 200, "dtype": 11}])
@pytest.mark.parametrize("shape", [[7], [300, 16], [20_000, 3, 224, 224]])
def test_the_rows_of_the_first_input_are_read(shape: list[int], more: dict[str, Any]) -> None:
    assert rows(tensors(shape, [5, 5], **more)) == shape[0]
    assert rows(tensors(shape, **more, spec=False)) == shape[0]


@pytest.mark.parametrize("shape", [[], [0, 16]])
def test_there_is_at_least_one_row(shape: list[int]) -> None:
    assert rows(tensors(shape)) == 1


def test_there_are_no_more_rows_than_bytes() -> None:
    request = tensors([2**62, 16])
    assert rows(request) <= len(request)


def test_where_the_shape_is_not_in_its_place_it_is_one_row() -> None:
    tensor = wrap(4, bytes(64)) + wrap(3, b"\x07")
    assert rows(wrap(1, wrap(1, b"digits")) + wrap(2, tensor)) == 1
    assert rows(b"") == rows(wrap(1, wrap(1, b"digits"))) == 1


@given(st.binary(max_size=80))
def test_whatever_the_bytes_are_the_rows_are_a_small_positive_number(garbage: bytes) -> None:
    assert 1 <= rows(garbage) <= max(len(garbage), 1)


@pytest.mark.parametrize("length", [1, 100, 124, 125, 126, 127, 128])
def test_names_of_every_length_are_read(length: int) -> None:
    assert target(asking(name="a" * length)) == Target("a" * length)
    assert rows(tensors([9, 9], name="a" * length)) == 9
