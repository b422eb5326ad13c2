from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError

from penstock import errors
from penstock.rpc.errors import (
    DETAILS_KEY,
    MAX_DETAILS_BYTES,
    MAX_MESSAGE_BYTES,
    PUSHBACK_KEY,
    as_penstock_error,
    from_message,
    from_status,
    to_status,
    to_trailers,
)

CLASSES = sorted(errors.BY_REASON.values(), key=lambda cls: cls.__name__)


def travelled(error: errors.PenstockError) -> errors.PenstockError:
    return from_status(error.code, to_status(error).message, to_trailers(error))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_arrives_as_itself(cls: type[errors.PenstockError]) -> None:
    sent = cls(
        "what and where",
        violations=[errors.Violation("inputs[0]", "wrong")],
        resource=("model", "digits"),
        precondition="models/digits",
        metadata={"model": "digits", "requestId": "r-1"},
    )
    for got in (travelled(sent), from_message(to_status(sent))):
        assert type(got) is cls
        assert (got.code, got.reason, got.message, got.request_id) == (cls.code, cls.reason, "what and where", "r-1")
        assert got.violations == sent.violations
        assert (got.resource, got.precondition) == (sent.resource, sent.precondition)
        assert (got.metadata, got.retry_after) == (sent.metadata, cls.default_retry_after)


def test_every_class_has_a_reason_of_its_own() -> None:
    assert len({cls.reason for cls in CLASSES}) == len(CLASSES) == len(errors.BY_REASON)
    every = set(CLASSES)
    assert all(set(cls.__subclasses__()) <= every for cls in CLASSES)


def test_a_time_to_retry_given_by_the_raiser_wins() -> None:
    assert travelled(errors.QueueFull("full", retry_after=2.5)).retry_after == 2.5
    assert travelled(errors.QueueFull("full", retry_after=0.0)).retry_after == 0.0


def test_only_exhausted_resources_push_back() -> None:
    assert (PUSHBACK_KEY, "2500") in to_trailers(errors.QueueFull("full", retry_after=2.5))
    assert PUSHBACK_KEY not in dict(to_trailers(errors.NoLiveWorker("none", retry_after=2.5)))


@pytest.mark.parametrize("letter", ["a", "é", "漢", "\U0001f600"])
@pytest.mark.parametrize("count", [1, 16, 1000])
def test_however_much_is_said_it_stays_within_what_peers_accept(letter: str, count: int) -> None:
    sent = errors.InvalidTensor(
        letter * 5000,
        violations=[errors.Violation(f"inputs[{n}].shape", letter * 1000) for n in range(count)],
        precondition="p",
        metadata={"model": "m" * 128, "requestId": "r" * 128},
    )
    status = to_status(sent)
    assert len(status.message.encode()) <= MAX_MESSAGE_BYTES
    assert status.ByteSize() <= MAX_DETAILS_BYTES
    got = from_message(status)
    assert type(got) is errors.InvalidTensor
    assert got.request_id == "r" * 128
    assert sent.message.startswith(got.message)


def test_many_violations_are_cut_not_left_out() -> None:
    sent = errors.InvalidTensor("bad", violations=[errors.Violation("inputs", "x" * 200) for _ in range(100)])
    assert 10 < len(travelled(sent).violations) < 100


def test_metadata_without_measure_does_not_hide_the_status() -> None:
    sent = errors.ModelNotFound("there is none", metadata={"model": "m" * 100_000})
    assert to_status(sent).ByteSize() <= MAX_DETAILS_BYTES
    assert type(travelled(sent)) is errors.NotFound


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_status_of_the_library_is_the_class_of_its_code(code: grpc.StatusCode) -> None:
    got = from_status(code, "by the library", ())
    assert (got.code, got.reason, got.message, got.retry_after) == (code, "", "by the library", None)
    assert type(got) is errors.BY_CODE.get(code, errors.PenstockError)


def test_a_reason_newer_than_this_release_is_kept() -> None:
    got = travelled(errors.Unavailable("not now", reason="MODEL_ASLEEP"))
    assert type(got) is errors.Unavailable
    assert got.reason == "MODEL_ASLEEP"


def test_details_that_are_no_status_are_passed_over() -> None:
    got = from_status(grpc.StatusCode.INTERNAL, "x", [(DETAILS_KEY, b"\xff\xff"), ("a", "b"), (DETAILS_KEY, "text")])
    assert (type(got), got.message) == (errors.Internal, "x")


def test_the_text_of_a_foreign_exception_does_not_leave(caplog: pytest.LogCaptureFixture) -> None:
    got = as_penstock_error(ZeroDivisionError("secret"), "r-1", "/a/B")
    assert (type(got), got.request_id) == (errors.Internal, "r-1")
    assert "secret" not in got.message
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("raised", "cls"),
    [
        (errors.QueueFull("full"), errors.QueueFull),
        (DecodeError("secret"), errors.MalformedRequest),
        (TimeoutError("secret"), errors.DeadlineExceeded),
    ],
)
def test_what_is_known_keeps_its_meaning(raised: Exception, cls: Any) -> None:
    got = as_penstock_error(raised, "r-1", "/a/B")
    assert (type(got), got.request_id) == (cls, "r-1")
    assert "secret" not in got.message


def test_metadata_of_the_raiser_is_kept() -> None:
    error = errors.QueueFull("full", metadata={"model": "a"}).with_metadata(model="b", worker="w")
    assert error.metadata == {"model": "a", "worker": "w"}


def test_an_error_reads_with_code_and_reason() -> None:
    assert str(errors.QueueFull("full")) == "RESOURCE_EXHAUSTED (QUEUE_FULL): full"
    assert str(errors.PenstockError("what")) == "UNKNOWN: what"
