from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import grpc
import pytest
from google.protobuf import duration_pb2

from penstock import errors
from penstock.gateway import streams
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
    """Sleeps for the number of seconds in the request, or fails in the way that it names."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.cancelled = 0
        self.calls: list[Call] = []

    async def __call__(self, request: bytes, call: Call) -> bytes:
        self.calls.append(call)
        if request == b"refused":
            raise errors.QueueFull("full")
        if request == b"broken":
            raise ValueError("secret")
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(float(request or b"0"))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return wrap(9, request)


async def sending(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def answers(
    *messages: bytes, model: Callable[[bytes, Call], object] | None = None, timeout: float | None = None
) -> list[predict_pb2.PredictStreamResponse]:
    serving = PredictStreams(model or Model()).serve(sending(*messages), call(timeout))  # type: ignore[arg-type]
    return [predict_pb2.PredictStreamResponse.FromString(answer) async for answer in serving]


def error(answer: predict_pb2.PredictStreamResponse) -> errors.PenstockError:
    assert answer.HasField("error")
    return from_message(answer.error)


async def test_answers_come_as_they_are_ready() -> None:
    found = await answers(question("slow", b"3"), question("fast", b"1"), question("middle", b"2"))
    assert [answer.request_id for answer in found] == ["fast", "middle", "slow"]
    assert now() == pytest.approx(3)


async def test_an_answer_is_the_models_own_bytes() -> None:
    serving = PredictStreams(Model()).serve(sending(question("a", b"0")), call())
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
    assert [c.deadline for c in model.calls] == pytest.approx([10, 10, 2])


async def test_a_timeout_below_zero_has_passed() -> None:
    (found,) = await answers(question("a", b"1", -1.0))
    assert error(found).code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("message", [b"\xff", wrap(1, b"a") + b"\x0a\x63", wrap(1, b"a") + wrap(2, b"\xff")])
async def test_a_malformed_question_is_answered_and_the_stream_goes_on(message: bytes) -> None:
    found = await answers(message, question("good"))
    assert isinstance(error(found[0]), errors.MalformedRequest)
    assert found[1].request_id == "good"


async def test_every_question_is_a_call_of_its_own() -> None:
    model = Model()
    await answers(question("a"), question("b"), model=model)
    one, other = model.calls
    assert one.request_id != other.request_id
    assert one.facts is not other.facts


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

    async with aclosing(PredictStreams(Model()).serve(endless(), call())) as serving:
        await anext(serving)
        await asyncio.sleep(100)
        assert taken <= streams.MAX_IN_FLIGHT + 1


async def test_leaving_cancels_what_is_in_flight() -> None:
    model = Model()
    messages = [question("now"), *(question(str(n), b"1000") for n in range(5))]
    async with aclosing(PredictStreams(model).serve(sending(*messages), call())) as serving:
        await anext(serving)
    assert (model.running, model.cancelled) == (0, 5)
    assert now() < 1


async def test_leaving_a_full_stream_ends_at_once() -> None:
    messages = [question(str(n)) for n in range(3 * streams.MAX_IN_FLIGHT)]
    async with aclosing(PredictStreams(Model()).serve(sending(*messages), call())) as serving:
        await anext(serving)
        await asyncio.sleep(1)
    assert now() == pytest.approx(1)


async def test_a_stream_that_breaks_ends_with_its_own_error() -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield question("a", b"5")
        raise errors.Cancelled("the stream broke")

    with pytest.raises(errors.Cancelled, match="the stream broke"):
        [answer async for answer in PredictStreams(Model()).serve(breaking(), call())]


async def test_an_empty_stream_ends_empty() -> None:
    assert await answers() == []
