from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidArgument, MalformedRequest
from penstock.gateway import peek
from penstock.gateway.peek import Target, target
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
