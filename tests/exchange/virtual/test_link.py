from __future__ import annotations

import logging

import pytest

from penstock.errors import Internal, LeaseFenced, WorkerLost
from penstock.exchange.link import Link
from penstock.testing.links import LocalLink, Recorder, linked


def failing(error: Exception) -> Recorder:
    def fail(_link: Link, message: bytes) -> None:
        if message == b"fail":
            raise error

    return Recorder(fail)


async def test_messages_arrive_in_order_and_both_hear_of_the_end_once() -> None:
    near, far = Recorder(), Recorder()
    link, _ = linked(near, far)
    link.write(b"1")
    link.write(b"2")
    link.close()
    link.close(LeaseFenced("too late to say"))
    link.write(b"3")
    assert near.closed == []
    await near.until(lambda near: near.closed)
    assert (far.messages, far.closed, near.closed) == ([b"1", b"2"], [None], [None])
    assert not link.writable


async def test_both_hear_why_a_link_was_closed() -> None:
    near, far = Recorder(), Recorder()
    link, _ = linked(near, far)
    fenced = LeaseFenced("another worker has this address now")
    link.close(fenced)
    await far.until(lambda far: far.closed)
    await near.until(lambda near: near.closed)
    assert near.closed == far.closed == [fenced]


async def test_nothing_is_heard_after_ones_own_close() -> None:
    near, far = Recorder(lambda link, message: link.close()), Recorder()
    _, other = linked(near, far)
    other.write(b"1")
    other.write(b"2")
    await far.until(lambda far: far.closed)
    assert near.messages == [b"1"]


async def test_a_lost_link_is_heard_of_on_both_sides() -> None:
    near, far = Recorder(), Recorder()
    link, _ = linked(near, far)
    link.hold()
    link.write(b"held")
    link.lose()
    await far.until(lambda far: far.closed)
    assert far.messages == []
    assert all(isinstance(closed[0], WorkerLost) for closed in (near.closed, far.closed))


async def test_a_handlers_own_error_ends_the_link_and_is_told_to_the_other_side(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fenced = LeaseFenced("not this epoch")
    near, far = Recorder(), failing(fenced)
    link, _ = linked(near, far)
    link.write(b"fail")
    link.write(b"more")
    await near.until(lambda near: near.closed)
    assert near.closed == [fenced]
    assert far.messages == [b"fail"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_bug_in_a_handler_ends_its_link_only_and_its_text_stays_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    near, far = Recorder(), failing(ValueError("a secret"))
    link, _ = linked(near, far)
    link.write(b"fail")
    await near.until(lambda near: near.closed)
    assert isinstance(near.closed[0], Internal)
    assert "secret" not in str(near.closed[0])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "secret" in caplog.text


async def test_a_link_that_can_be_written_again_says_so_once() -> None:
    near = Recorder()
    link, _ = linked(near, Recorder())
    link.hold()
    assert near.times_writable == 0
    link.release()
    link.release()
    assert link.writable
    assert near.times_writable == 1


async def test_shared_memory_of_two_local_ends_goes_with_the_link() -> None:
    near, far = Recorder(), Recorder()
    link, other = linked(near, far, shared=4096)
    assert link.memory is not None
    assert other.memory is not None
    placed = link.memory.mine.put(b"abc")
    assert placed is not None
    assert bytes(other.memory.theirs.read(*placed)) == b"abc"
    other.close()
    await near.until(lambda near: near.closed)
    await far.until(lambda far: far.closed)
    assert link.memory.mine.put(b"abc") is None


async def test_a_link_says_what_state_it_is_in() -> None:
    link: LocalLink
    link, _ = linked(Recorder(), Recorder())
    assert repr(link) == "<Link local writable>"
    link.hold()
    assert repr(link) == "<Link local full>"
    link.close()
    assert repr(link) == "<Link local closing>"
