from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.exchange.handshake import VERSION, HandshakeFailed, answer, greet

Pair = tuple[socket.socket, socket.socket]


def greeting(version: int = VERSION, shares: int = 0, magic: bytes = b"penstock") -> bytes:
    return magic + bytes([version, shares]) + bytes(6)


def open_memory() -> int:
    links = Path("/proc/self/fd").iterdir()
    return sum(os.readlink(link).startswith("/memfd:") for link in links if link.is_symlink())


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        yield one, other
        assert open_memory() == 0


async def test_both_sides_share_their_memory(pair: Pair) -> None:
    near, far = await asyncio.gather(greet(pair[0], shared=True), answer(pair[1], shared=True))
    assert near is not None
    assert far is not None
    for one, other in ((near, far), (far, near)):
        placed = one.mine.put(b"abc")
        assert placed is not None
        assert bytes(other.theirs.read(*placed)) == b"abc"
    near.close()
    far.close()


@pytest.mark.parametrize("wish", [(True, False), (False, True), (False, False)])
async def test_they_share_nothing_unless_both_want_it(pair: Pair, wish: tuple[bool, bool]) -> None:
    near, far = await asyncio.gather(greet(pair[0], shared=wish[0]), answer(pair[1], shared=wish[1]))
    assert near is None
    assert far is None


async def test_what_follows_the_greeting_is_left_for_the_link(pair: Pair) -> None:
    pair[1].send(greeting() + b"frames")
    assert await greet(pair[0], shared=True) is None
    assert pair[0].recv(100) == b"frames"


async def test_a_greeting_may_come_in_pieces(pair: Pair) -> None:
    whole = greeting()
    pair[0].send(whole[:5])
    answering = asyncio.create_task(answer(pair[1], shared=False))
    await asyncio.sleep(0)
    pair[0].send(whole[5:])
    assert await answering is None


async def test_unlike_releases_refuse_each_other_and_both_see_why(pair: Pair) -> None:
    pair[0].send(greeting(VERSION + 1))
    with pytest.raises(HandshakeFailed, match=f"speaks version {VERSION + 1} of the frames, this one {VERSION}"):
        await answer(pair[1], shared=True)
    assert pair[0].recv(100) == greeting(VERSION)


async def test_a_client_refuses_an_unlike_server(pair: Pair) -> None:
    pair[1].send(greeting(VERSION + 1))
    with pytest.raises(HandshakeFailed, match="speaks version"):
        await greet(pair[0], shared=True)


async def test_who_is_no_penstock_is_refused(pair: Pair) -> None:
    pair[0].send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(HandshakeFailed, match="no Penstock"):
        await answer(pair[1], shared=True)


async def test_who_leaves_without_a_greeting_is_refused(pair: Pair) -> None:
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(HandshakeFailed, match="closed the connection"):
        await answer(pair[1], shared=True)


async def test_who_stays_silent_is_not_waited_for(pair: Pair) -> None:
    for begin in (greet, answer):
        with pytest.raises(HandshakeFailed, match="has not said who it is within"):
            await begin(pair[0], shared=True, timeout=0)


async def test_memory_that_could_be_taken_away_is_refused(pair: Pair) -> None:
    descriptor = os.memfd_create("unsealed")
    os.ftruncate(descriptor, 4096)
    socket.send_fds(pair[0], [greeting(shares=1)], [descriptor])
    os.close(descriptor)
    with pytest.raises(HandshakeFailed, match="cannot be used"):
        await answer(pair[1], shared=True)


async def test_memory_that_did_not_arrive_is_not_taken_for_granted(pair: Pair) -> None:
    pair[0].send(greeting(shares=1))
    with pytest.raises(HandshakeFailed, match="did not arrive"):
        await answer(pair[1], shared=True)


async def test_more_descriptors_than_one_are_closed(pair: Pair) -> None:
    descriptors = [os.memfd_create("one"), os.memfd_create("other")]
    socket.send_fds(pair[0], [greeting()], descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    assert await answer(pair[1], shared=True) is None
