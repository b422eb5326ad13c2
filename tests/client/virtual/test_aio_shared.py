from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from penstock import errors
from penstock.client.aio_shared import MAX_IN_FLIGHT, SharedLane
from penstock.rpc.errors import to_status
from penstock.v1 import predict_pb2 as pb


class Wire:
    """A call whose other end is the test: what was written, and what is read next."""

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        self.messages: list[pb.PredictStreamRequest] = []
        self.free = asyncio.Event()
        self.free.set()
        self.coming: asyncio.Queue[Any] = asyncio.Queue()
        self.ended = ""

    async def write(self, message: bytes) -> None:
        self.messages.append(pb.PredictStreamRequest.FromString(message))
        await self.free.wait()

    async def read(self) -> Any:
        came = await self.coming.get()
        if isinstance(came, BaseException):
            raise came
        return came

    async def done_writing(self) -> None:
        self.ended = "in peace"
        self.coming.put_nowait(grpc.aio.EOF)

    def cancel(self) -> None:
        self.ended = self.ended or "cut"

    def asked(self) -> list[str]:
        return [one.request_id for message in self.messages for one in (message, *message.more)]

    def answer(self, *request_ids: str) -> None:
        first, *more = (
            pb.PredictStreamResponse(request_id=name, response=pb.PredictResponse()) for name in request_ids
        )
        first.more.extend(more)
        self.coming.put_nowait(first)

    def breaks(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        none = grpc.aio.Metadata()
        self.coming.put_nowait(grpc.aio.AioRpcError(code, none, none, "connection reset"))


class World:
    """A lane, its streams, and those who ask."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.lane = SharedLane(self._open)

    def _open(self, stream_id: str) -> Wire:
        self.wires.append(Wire(stream_id))
        return self.wires[-1]

    def ask(self, timeout: float | None = None) -> asyncio.Task[tuple[pb.PredictResponse, str]]:
        return asyncio.create_task(self.lane.ask(b"", timeout))


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    try:
        yield made
    finally:
        await made.lane.aclose()


async def settle() -> None:
    """Let everything run that can."""
    await asyncio.sleep(0.001)


async def test_what_is_asked_in_one_turn_leaves_in_one_message() -> None:
    async with world() as w:
        tasks = [w.ask() for _ in range(5)]
        await settle()
        (wire,) = w.wires
        assert [1 + len(message.more) for message in wire.messages] == [5]
        wire.answer("1", "2", "3", "4", "5")
        assert [(await task)[1] for task in tasks] == [f"{wire.stream_id}-{n}" for n in range(1, 6)]


async def test_what_is_asked_while_a_message_is_written_leaves_in_the_next() -> None:
    async with world() as w:
        first = w.ask()
        await settle()
        (wire,) = w.wires
        wire.free.clear()
        tasks = [first, w.ask()]
        await settle()
        for _ in range(3):
            tasks.append(w.ask())
            await settle()
        assert [1 + len(message.more) for message in wire.messages] == [1, 1]
        wire.free.set()
        await settle()
        assert [1 + len(message.more) for message in wire.messages] == [1, 1, 3]
        wire.answer(*wire.asked())
        await asyncio.gather(*tasks)


async def test_answers_find_who_asked_in_whatever_order() -> None:
    async with world() as w:
        tasks = [w.ask() for _ in range(3)]
        await settle()
        w.wires[0].answer("3")
        w.wires[0].answer("1", "2")
        assert [(await task)[1].rpartition("-")[2] for task in tasks] == ["1", "2", "3"]


async def test_an_error_fails_its_own_question() -> None:
    async with world() as w:
        bad, good = w.ask(), w.ask()
        await settle()
        wire = w.wires[0]
        wire.coming.put_nowait(pb.PredictStreamResponse(request_id="1", error=to_status(errors.QueueFull("full"))))
        wire.answer("2")
        with pytest.raises(errors.QueueFull, match="full") as caught:
            await bad
        assert caught.value.request_id == f"{wire.stream_id}-1"
        await good


async def test_the_time_runs_out_to_the_moment() -> None:
    async with world() as w:
        loop = asyncio.get_running_loop()
        begun, asked = loop.time(), w.ask(timeout=2.5)
        with pytest.raises(errors.DeadlineExceeded, match=r"no answer within 2.5 s"):
            await asked
        assert loop.time() == begun + 2.5
        assert w.wires[0].messages[0].timeout.ToMilliseconds() == 2500


async def test_each_has_its_own_time_whatever_that_of_the_others() -> None:
    async with world() as w:
        loop = asyncio.get_running_loop()
        ends: dict[float, float] = {}

        async def end_of(timeout: float) -> None:
            with pytest.raises(errors.DeadlineExceeded):
                await w.lane.ask(b"", timeout)
            ends[timeout] = loop.time()

        begun = loop.time()
        answered, forever = w.ask(timeout=0.5), w.ask()
        others = [asyncio.create_task(end_of(timeout)) for timeout in (3.0, 1.0, 2.0, 1.0)]
        await settle()
        w.wires[0].answer("1")
        await answered
        await asyncio.gather(*others)
        assert {timeout: end - begun for timeout, end in ends.items()} == {1.0: 1.0, 2.0: 2.0, 3.0: 3.0}
        assert not forever.done()
        forever.cancel()


async def test_an_answer_that_nobody_waits_for_is_ignored() -> None:
    async with world() as w:
        gone, there = w.ask(), w.ask()
        await settle()
        gone.cancel()
        await settle()
        w.wires[0].answer("1", "2")
        await there
        assert gone.cancelled()


async def test_what_is_cancelled_before_it_left_is_never_sent() -> None:
    async with world() as w:
        first = w.ask()
        await settle()
        wire = w.wires[0]
        wire.free.clear()
        blocking = w.ask()
        await settle()
        cancelled, last = w.ask(), w.ask()
        await settle()
        cancelled.cancel()
        await settle()
        wire.free.set()
        await settle()
        assert wire.asked() == ["1", "2", "4"]
        wire.answer("1", "2", "4")
        await asyncio.gather(first, blocking, last)


async def test_no_more_are_in_flight_than_allowed() -> None:
    async with world() as w:
        tasks = [w.ask() for _ in range(MAX_IN_FLIGHT + 3)]
        await settle()
        wire = w.wires[0]
        assert len(wire.asked()) == MAX_IN_FLIGHT
        wire.answer("1")
        await settle()
        assert len(wire.asked()) == MAX_IN_FLIGHT + 1
        tasks[1].cancel()  # makes room, too
        tasks[-1].cancel()  # waits for room, and leaves no hole
        await settle()
        assert wire.asked()[-2:] == [f"{MAX_IN_FLIGHT + 1:x}", f"{MAX_IN_FLIGHT + 2:x}"]
        wire.answer(*wire.asked()[2:])
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_waiting_for_room_is_part_of_the_time() -> None:
    async with world() as w:
        held = [w.ask() for _ in range(MAX_IN_FLIGHT)]
        late = w.ask(timeout=1.0)
        with pytest.raises(errors.DeadlineExceeded):
            await late
        w.wires[0].answer(*w.wires[0].asked())
        await asyncio.gather(*held)
        assert len(w.wires[0].asked()) == MAX_IN_FLIGHT


async def test_a_break_fails_what_was_sent_and_the_next_opens_a_new_stream() -> None:
    async with world() as w:
        tasks = [w.ask() for _ in range(2)]
        await settle()
        w.wires[0].breaks()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in found] == [errors.Unavailable] * 2
        assert found[0] is not found[1]
        assert isinstance(found[0].__cause__, grpc.RpcError)  # type: ignore[union-attr]
        again = w.ask()
        await settle()
        assert w.wires[1].asked() == ["3"]
        w.wires[1].answer("3")
        assert (await again)[1] == f"{w.wires[1].stream_id}-3"


async def test_what_was_not_sent_on_a_broken_stream_goes_on_the_next() -> None:
    async with world() as w:
        sent = w.ask()
        await settle()
        w.wires[0].free.clear()
        also_sent = w.ask()
        await settle()
        waiting = w.ask()
        await settle()
        w.wires[0].breaks()
        await settle()
        assert sent.done()
        assert also_sent.done()
        assert w.wires[1].asked() == ["3"]
        w.wires[1].answer("3")
        await waiting
        assert [isinstance(task.exception(), errors.Unavailable) for task in (sent, also_sent)] == [True, True]


async def test_a_stream_that_ends_early_is_a_broken_one() -> None:
    async with world() as w:
        asked = w.ask()
        await settle()
        w.wires[0].coming.put_nowait(grpc.aio.EOF)
        with pytest.raises(errors.Unavailable, match="before all was answered"):
            await asked


async def test_closing_is_peaceful_when_all_is_answered() -> None:
    async with world() as w:
        asked = w.ask()
        await settle()
        w.wires[0].answer("1")
        await asked
    assert w.wires[0].ended == "in peace"


async def test_closing_cancels_those_who_wait() -> None:
    async with world() as w:
        tasks = [w.ask() for _ in range(MAX_IN_FLIGHT + 1)]
        await settle()
    assert w.wires[0].ended == "cut"
    for task in tasks:
        with pytest.raises(errors.Cancelled, match="closed"):
            await task
    with pytest.raises(errors.Cancelled, match="closed"):
        await w.ask()
