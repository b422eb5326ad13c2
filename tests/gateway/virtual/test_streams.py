from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
import pytest
from google.protobuf import duration_pb2

from penstock import errors
from penstock.gateway import streams
from penstock.gateway.envelopes import Envelope
from penstock.gateway.question import Question
from penstock.gateway.streams import PredictStreams
from penstock.gateway.wire import wrap
from penstock.rpc.call import Call
from penstock.rpc.errors import from_message
from penstock.v1 import predict_pb2

from .fakes import call, now


def question(request_id: str, content: bytes = b"", timeout: float | None = None) -> bytes:
    limit = b""
    if timeout is not None:
        duration = duration_pb2.Duration()
        duration.FromMilliseconds(round(timeout * 1000))
        limit = wrap(2, duration.SerializeToString())
    return wrap(1, request_id.encode()) + limit + wrap(3, content)


class Model:
    """Takes the number of seconds in the request, or fails in the way that it names."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.cancelled = 0
        self.held = 0
        self.asked: list[Question] = []

    def submit(self, question: Question, call: Call, pin: int, envelope: Envelope) -> None:
        self.asked.append(question)
        if question.request == b"refused":
            raise errors.QueueFull("full")
        if question.request == b"broken":
            raise ValueError("secret")
        if question.deadline <= now():
            raise errors.DeadlineExceeded("passed")
        self.held += len(question.request)
        self.running += 1
        self.most = max(self.most, self.running)
        question.holder = self
        asyncio.get_running_loop().call_later(float(question.request or b"0"), self._answer, question)

    def _answer(self, question: Question) -> None:
        if question.holder is not None:
            self.running -= 1
            question.holder = None
            question.answered(wrap(9, question.request), ())

    def abandon(self, question: Question) -> None:
        self.running -= 1
        self.cancelled += 1

    def leave(self, size: int) -> None:
        self.held -= size

    def streams(self) -> PredictStreams:
        return PredictStreams(self.submit, self.leave, 60.0)


async def sending(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def answers(
    *messages: bytes, model: Model | None = None, timeout: float | None = None, **headers: str
) -> list[predict_pb2.PredictStreamResponse]:
    model = model or Model()
    serving = model.streams().serve(sending(*messages), call(timeout, **headers))
    found = [predict_pb2.PredictStreamResponse.FromString(answer) async for answer in serving]
    assert model.held == 0
    return found


def error(answer: predict_pb2.PredictStreamResponse) -> errors.PenstockError:
    assert answer.HasField("error")
    return from_message(answer.error)


async def test_answers_come_as_they_are_ready() -> None:
    found = await answers(question("slow", b"3"), question("fast", b"1"), question("middle", b"2"))
    assert [answer.request_id for answer in found] == ["fast", "middle", "slow"]
    assert now() == pytest.approx(3)


async def test_an_answer_is_the_models_own_bytes() -> None:
    serving = Model().streams().serve(sending(question("a", b"0")), call())
    assert [answer async for answer in serving] == [wrap(1, b"a") + wrap(2, wrap(9, b"0"))]


async def test_one_that_fails_does_not_end_the_others() -> None:
    found = await answers(question("bad", b"refused"), question("good", b"1"))
    assert [answer.request_id for answer in found] == ["bad", "good"]
    assert isinstance(error(found[0]), errors.QueueFull)
    assert found[1].HasField("response")


async def test_no_text_of_an_exception_leaves(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, "penstock.rpc"):
        (found,) = await answers(question("a", b"broken"))
    assert error(found).code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(found)


async def test_each_may_have_its_own_timeout() -> None:
    found = await answers(question("patient", b"5", 6.0), question("hasty", b"5", 2.0))
    assert [answer.request_id for answer in found] == ["hasty", "patient"]
    assert error(found[0]).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert found[1].HasField("response")


async def test_a_timeout_is_never_later_than_the_streams_deadline() -> None:
    model = Model()
    await answers(question("a", b"1", 100.0), question("b", b"1"), question("c", b"1", 2.0), model=model, timeout=10)
    assert [q.deadline for q in model.asked] == pytest.approx([10, 10, 2])


async def test_a_timeout_below_zero_has_passed() -> None:
    (found,) = await answers(question("a", b"1", -1.0))
    assert error(found).code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("message", [b"\xff", wrap(1, b"a") + b"\x0a\x63", wrap(1, b"a") + wrap(2, b"\xff")])
async def test_a_malformed_question_is_answered_and_the_stream_goes_on(message: bytes) -> None:
    found = await answers(message, question("good"))
    assert isinstance(error(found[0]), errors.MalformedRequest)
    assert found[1].request_id == "good"


async def test_every_question_has_an_id_of_its_own_that_begins_like_the_streams() -> None:
    model = Model()
    await answers(question("a"), question("b"), model=model, x_request_id="mine")
    assert [asked.request_id for asked in model.asked] == ["mine.1", "mine.2"]


async def test_questions_without_any_deadline_get_the_default() -> None:
    model = Model()
    await answers(question("a", b"1"), model=model)
    assert [asked.deadline for asked in model.asked] == [60]


def joined(first: bytes, *more: bytes) -> bytes:
    return first + b"".join(wrap(4, further) for further in more)


async def test_several_questions_in_one_message_are_asked_each_for_itself() -> None:
    model = Model()
    first, second = await answers(joined(question("a", b"2"), question("b", b"1"), question("c", b"2")), model=model)
    assert len(model.asked) == 3
    assert (first.request_id, len(first.more)) == ("b", 0)
    assert [second.request_id, *(answer.request_id for answer in second.more)] == ["a", "c"]


async def test_who_sends_several_in_one_message_gets_what_is_ready_in_one_message() -> None:
    numbers = [question(str(number), b"1") for number in range(50)]
    (found,) = await answers(joined(*numbers))
    assert len(found.more) == 49
    assert all(answer.HasField("response") for answer in found.more)


async def test_who_says_so_gets_answers_together_too() -> None:
    messages = [question(str(number), b"1") for number in range(50)]
    assert len(await answers(*messages, x_penstock_coalesce="on")) < 5
    assert len(await answers(*messages)) == 50


async def test_a_refusal_among_several_is_in_its_place() -> None:
    (found,) = await answers(joined(question("bad", b"refused"), question("worse", b"refused")))
    assert isinstance(error(found), errors.QueueFull)
    assert isinstance(error(found.more[0]), errors.QueueFull)


async def test_great_answers_are_not_joined_without_bound() -> None:
    content = b"0" * 100_000
    found = await answers(joined(*(question(str(n), content) for n in range(10))))
    assert [1 + len(answer.more) for answer in found] == [3, 3, 3, 1]


async def test_the_bound_counts_the_questions_and_not_the_messages() -> None:
    model = Model()
    numbers = [question(str(n), b"1") for n in range(2500)]
    await answers(joined(*numbers[:1500]), joined(*numbers[1500:]), model=model)
    assert len(model.asked) == 2500
    assert model.most == streams.MAX_IN_FLIGHT


async def test_no_more_than_the_bound_are_in_flight() -> None:
    model = Model()
    found = await answers(*(question(str(n), b"1") for n in range(2500)), model=model)
    assert len(found) == 2500
    assert model.most == streams.MAX_IN_FLIGHT


async def test_a_caller_that_reads_nothing_is_not_read_from_either() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield question(str(taken))

    async with aclosing(Model().streams().serve(endless(), call())) as serving:
        await anext(serving)
        await asyncio.sleep(100)
        assert taken <= streams.MAX_IN_FLIGHT + 1


async def test_leaving_cancels_what_is_in_flight() -> None:
    model = Model()
    messages = [question("now"), *(question(str(n), b"1000") for n in range(5))]
    async with aclosing(model.streams().serve(sending(*messages), call())) as serving:
        await anext(serving)
    assert (model.running, model.cancelled) == (0, 5)
    assert now() < 1


async def test_leaving_a_full_stream_ends_at_once() -> None:
    messages = [question(str(n)) for n in range(3 * streams.MAX_IN_FLIGHT)]
    async with aclosing(Model().streams().serve(sending(*messages), call())) as serving:
        await anext(serving)
        await asyncio.sleep(1)
    assert now() == pytest.approx(1)


async def test_a_stream_that_breaks_ends_with_its_own_error() -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield question("a", b"5")
        raise errors.Cancelled("the stream broke")

    with pytest.raises(errors.Cancelled, match="the stream broke"):
        [answer async for answer in Model().streams().serve(breaking(), call())]


async def test_an_empty_stream_ends_empty() -> None:
    assert await answers() == []
