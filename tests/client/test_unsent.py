from __future__ import annotations

import math

import pytest

from penstock.client.unsent import MAX_BYTES, MAX_QUESTIONS, Unsent
from penstock.v1 import model_pb2
from penstock.v1 import predict_pb2 as pb

ASK = pb.PredictRequest(model_spec=model_pb2.ModelSpec(name="m"))


def of(size: int) -> bytes:
    """A question of that size."""
    request = pb.PredictRequest(output_names=["x" * (size - 5)])
    missing = size - request.ByteSize()
    return pb.PredictRequest(output_names=["x" * (size - 5 + missing)]).SerializeToString()


def line(*bodies: bytes, deadline: float = math.inf) -> Unsent:
    unsent = Unsent()
    for count, body in enumerate(bodies):
        unsent.add(f"{count}", deadline, body)
    return unsent


def messages(unsent: Unsent) -> list[list[str]]:
    """The ids in each message."""
    found = []
    while unsent:
        message = pb.PredictStreamRequest.FromString(unsent.take(0.0))
        found.append([one.request_id for one in (message, *message.more)])
    return found


@pytest.mark.parametrize("timeout", [None, 1.25, 30.0])
def test_a_message_is_the_bytes_that_protobuf_makes(timeout: float | None) -> None:
    unsent, entries = Unsent(), []
    for request_id in ("1", "2f", "3" * 200):
        unsent.add(request_id, math.inf if timeout is None else 10.0 + timeout, ASK.SerializeToString())
        entries.append(pb.PredictStreamRequest(request_id=request_id, request=ASK))
        if timeout:
            entries[-1].timeout.FromMilliseconds(round(timeout * 1000))
    first, *more = entries
    first.more.extend(more)
    assert unsent.take(10.0) == first.SerializeToString()
    assert unsent.take(10.0) == b""


def test_all_that_waits_leaves_in_one_message() -> None:
    assert messages(line(b"", b"", b"")) == [["0", "1", "2"]]


def test_a_message_has_so_many_questions_and_no_more() -> None:
    found = messages(line(*[b""] * (2 * MAX_QUESTIONS + 1)))
    assert [len(ids) for ids in found] == [MAX_QUESTIONS, MAX_QUESTIONS, 1]
    assert [int(name) for ids in found for name in ids] == list(range(2 * MAX_QUESTIONS + 1))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((0.6, 0.6, 0.3), [["0"], ["1", "2"]]),
        ((0.1, 2.0, 0.1), [["0"], ["1"], ["2"]]),
        ((2.0, 0.1), [["0"], ["1"]]),
    ],
)
def test_a_message_is_split_by_size_and_a_question_never_is(
    sizes: tuple[float, ...], expected: list[list[str]]
) -> None:
    assert messages(line(*(of(round(share * MAX_BYTES)) for share in sizes))) == expected


def test_the_time_left_is_counted_from_when_it_leaves() -> None:
    unsent = line(b"", deadline=5.0)
    assert pb.PredictStreamRequest.FromString(unsent.take(3.0)).timeout.ToMilliseconds() == 2000


def test_what_nobody_waits_for_is_not_sent() -> None:
    unsent = line(b"", b"", deadline=5.0)
    unsent.add("late", 4.0, b"")
    unsent.drop("0")
    unsent.drop("unknown")
    message = pb.PredictStreamRequest.FromString(unsent.take(4.0))
    assert (message.request_id, len(message.more), len(unsent)) == ("1", 0, 0)


def test_when_all_is_late_there_is_no_message() -> None:
    unsent = line(b"", deadline=5.0)
    assert unsent.take(5.0) == b""
    assert not unsent
