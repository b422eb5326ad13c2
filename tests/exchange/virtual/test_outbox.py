from __future__ import annotations

import asyncio

import pytest

from penstock.exchange.outbox import MAX_MESSAGE_BYTES, Outbox
from penstock.exchange.pace import Pace
from penstock.testing.links import LocalLink, Recorder, linked
from penstock.v1.worker_pb2 import ExchangeRequest


class Sender:
    """One end's link and outbox, and what the other end hears."""

    def __init__(self) -> None:
        self.outbox = Outbox(ExchangeRequest)
        self.far = Recorder()
        self.link: LocalLink
        self.link, _ = linked(self, self.far)

    def __call__(self, _link: object) -> Sender:
        return self

    def on_message(self, message: bytes) -> None:
        raise AssertionError(message)

    def on_writable(self) -> None:
        self.outbox.on_writable()

    def on_closed(self, error: Exception | None) -> None:
        self.outbox.detach()

    def say(self, number: int, size: int = 0) -> None:
        self.outbox.message.cancels.append(number)
        self.outbox.touch(size)

    async def heard(self, count: int) -> list[list[int]]:
        await self.far.until(lambda far: len(far.messages) >= count)
        return [list(ExchangeRequest.FromString(message).cancels) for message in self.far.messages]


@pytest.fixture
async def sender() -> Sender:
    sender = Sender()
    sender.outbox.attach(sender.link)
    return sender


async def test_what_one_turn_of_the_loop_says_leaves_in_one_message(sender: Sender) -> None:
    sender.say(1)
    asyncio.get_running_loop().call_soon(sender.say, 2)  # not in this turn, but before what it asked for
    await asyncio.sleep(0)
    sender.say(3)
    assert await sender.heard(2) == [[1], [2, 3]]


async def test_an_idle_outbox_sends_without_delay(sender: Sender) -> None:
    sender.say(1)
    assert await sender.heard(1) == [[1]]
    assert asyncio.get_running_loop().time() == 0


async def test_what_is_said_while_the_link_is_full_leaves_together_when_it_can_be_written(sender: Sender) -> None:
    sender.link.hold()
    for number in range(100):
        sender.say(number)
        await asyncio.sleep(0)
    assert sender.link.sent == []
    sender.link.release()
    assert await sender.heard(1) == [list(range(100))]


async def test_one_message_is_under_way_at_a_time_where_the_link_wants_that(sender: Sender) -> None:
    sender.link.hold(writable=True)
    sender.say(1)
    await asyncio.sleep(0)
    sender.say(2)
    sender.say(3)
    await asyncio.sleep(0)
    assert len(sender.link.sent) == 1
    sender.link.release()
    assert await sender.heard(2) == [[1], [2, 3]]


async def test_a_great_message_is_closed_and_the_next_begun(sender: Sender) -> None:
    half = MAX_MESSAGE_BYTES // 2 + 1
    for number in range(5):
        sender.say(number, half)
    assert sender.outbox.waiting_bytes == 5 * half
    assert await sender.heard(3) == [[0, 1], [2, 3], [4]]
    assert sender.outbox.waiting_bytes == 0


async def test_the_closed_ones_wait_in_order_for_a_link_that_takes_one_at_a_time(sender: Sender) -> None:
    sender.link.hold(writable=True)
    for number in range(3):
        sender.say(number, MAX_MESSAGE_BYTES + 1)
    sender.say(3)
    await asyncio.sleep(0)
    assert len(sender.link.sent) == 1
    sender.link.release()
    assert await sender.heard(4) == [[0], [1], [2], [3]]


async def test_nothing_said_is_nothing_sent(sender: Sender) -> None:
    sender.outbox.flush()
    sender.link.hold()
    sender.link.release()
    sender.say(1)
    sender.outbox.flush()
    await sender.heard(1)
    await asyncio.sleep(0)
    assert len(sender.far.messages) == 1


async def test_before_it_has_a_link_it_collects() -> None:
    sender = Sender()
    sender.say(1)
    sender.say(2, MAX_MESSAGE_BYTES)
    sender.say(3, 2)
    sender.outbox.attach(sender.link)
    sender.say(4)
    assert await sender.heard(2) == [[1, 2, 3], [4]]


async def test_what_a_broken_link_was_not_given_is_not_given_to_the_next(sender: Sender) -> None:
    sender.link.hold()
    sender.say(1, MAX_MESSAGE_BYTES + 1)
    sender.say(2)
    sender.link.lose()
    await sender.far.until(lambda far: far.closed)
    assert sender.outbox.link is None
    assert sender.outbox.waiting_bytes == 0
    sender.outbox.attach(linked(sender, sender.far)[0])
    sender.say(3)
    assert await sender.heard(1) == [[3]]


def talking(sender: Sender, answer_in: float = 0.003) -> Pace:
    """Much has been said of late, and the answer to the last of it is on its way."""
    pace = sender.outbox.pace = Pace()
    now = asyncio.get_running_loop().time()
    pace.answer_at = now + answer_in
    for _ in range(8):
        pace.left(now)
    return pace


async def test_what_is_said_before_the_answer_comes_leaves_with_what_the_answer_brings(sender: Sender) -> None:
    talking(sender)
    sender.say(1)
    await asyncio.sleep(0.001)
    sender.say(2)
    assert not sender.far.messages
    sender.outbox.release()
    sender.say(3)
    assert await sender.heard(1) == [[1, 2, 3]]
    assert asyncio.get_running_loop().time() == pytest.approx(0.001)


async def test_an_answer_that_does_not_come_holds_nothing_up_for_long(sender: Sender) -> None:
    talking(sender)
    sender.say(1)
    assert await sender.heard(1) == [[1]]
    assert asyncio.get_running_loop().time() == pytest.approx(0.003)


async def test_a_message_that_has_become_large_waits_for_no_answer(sender: Sender) -> None:
    talking(sender)
    sender.say(1, MAX_MESSAGE_BYTES + 1)
    sender.say(2)
    assert await sender.heard(2) == [[1], [2]]
    assert asyncio.get_running_loop().time() == pytest.approx(0.003)


async def test_every_message_that_leaves_is_counted(sender: Sender) -> None:
    sender.outbox.pace = Pace()
    sender.outbox.pace.answer_at = 1.0
    for number in range(9):
        sender.say(number)
        await asyncio.sleep(0)
    assert await sender.heard(8) == [[number] for number in range(8)]
    assert (await sender.heard(9))[8] == [8]
    assert asyncio.get_running_loop().time() > 0


async def test_a_link_that_goes_leaves_no_timer_behind(sender: Sender) -> None:
    talking(sender)
    sender.say(1)
    await asyncio.sleep(0)
    sender.outbox.detach()
    sender.outbox.release()
    await asyncio.sleep(1)
    assert not sender.far.messages
