from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from penstock.errors import LeaseFenced, MalformedRequest, WorkerLost
from penstock.exchange.handshake import HandshakeFailed
from penstock.exchange.link import Link, LinkHandler
from penstock.exchange.sockets import listen_socket
from penstock.exchange.unix import UnixServer, connect_unix, serve_unix
from penstock.testing.links import Recorder

GREETING = b"penstock\x01" + bytes(7)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "worker.sock")


@asynccontextmanager
async def serving(
    path: str, make_handler: Callable[[Link], LinkHandler], *, shared: bool = True, max_message_bytes: int = 1 << 26
) -> AsyncIterator[UnixServer]:
    server = await serve_unix(path, make_handler, shared=shared, max_message_bytes=max_message_bytes)
    try:
        yield server
    finally:
        server.close()
        await server.wait_closed()


def echo() -> Recorder:
    return Recorder(lambda link, message: link.write(message))


@asynccontextmanager
async def stranger(
    path: str, greeting: bytes = GREETING
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that has greeted, and speaks the frames by hand."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(greeting)
        assert await reader.readexactly(16) == GREETING
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def mapped() -> int:
    """Shared memory of this process, which is here both sides."""
    with open("/proc/self/maps") as maps:
        return sum("memfd:penstock" in line for line in maps)


async def test_messages_of_all_sizes_go_there_and_back(path: str) -> None:
    messages = [b"x", bytes(5000), os.urandom(65537), b"y", os.urandom(5_000_000), b"z"]
    async with serving(path, echo()):
        near = Recorder()
        link = await connect_unix(path, near)
        for message in messages:
            link.write(message)
        await near.until(lambda near: len(near.messages) == len(messages))
        assert near.messages == messages
        link.close()
        await near.until(lambda near: near.closed)


async def test_both_hear_of_a_peaceful_end_after_everything_else(path: str) -> None:
    far = Recorder()
    async with serving(path, far):
        near = Recorder()
        link = await connect_unix(path, near)
        link.write(bytes(3_000_000))
        link.write(b"last")
        link.close()
        await far.until(lambda far: far.closed)
        await near.until(lambda near: near.closed)
        assert [len(message) for message in far.messages] == [3_000_000, 4]
        assert near.closed == far.closed == [None]


async def test_the_other_side_hears_why_a_link_was_closed(path: str) -> None:
    far = Recorder(lambda link, message: link.close(LeaseFenced("epoch 3 is over", metadata={"epoch": "4"})))
    async with serving(path, far):
        near = Recorder()
        (await connect_unix(path, near)).write(b"hello")
        await near.until(lambda near: near.closed)
        error = near.closed[0]
        assert isinstance(error, LeaseFenced)
        assert error.metadata == {"epoch": "4"}


async def test_what_was_said_before_the_end_is_heard_by_one_who_was_writing(path: str) -> None:
    def answer_and_close(link: Link, message: bytes) -> None:
        link.write(b"answer")
        link.close(LeaseFenced("epoch 3 is over"))

    async with serving(path, Recorder(answer_and_close)):
        near = Recorder()
        link = await connect_unix(path, near)
        link.write(b"question")
        await near.until(lambda near: near.messages)
        near = Recorder()
        link = await connect_unix(path, near)
        while not near.closed:
            link.write(bytes(200_000))  # until it fails, since nobody reads any more
            await asyncio.sleep(0)
        assert near.messages == [b"answer"]
        assert isinstance(near.closed[0], LeaseFenced)


async def test_a_side_that_goes_without_a_word_is_lost(path: str) -> None:
    far = Recorder()
    async with serving(path, far):
        async with stranger(path) as (_, writer):
            writer.write(struct.pack("<I", 3) + b"abc" + struct.pack("<I", 100) + b"half")
            await far.until(lambda far: far.messages)
        await far.until(lambda far: far.closed)
        assert far.messages == [b"abc"]
        assert isinstance(far.closed[0], WorkerLost)


@pytest.mark.parametrize("frame", [struct.pack("<I", 101), struct.pack("<I", 0), struct.pack("<I", 0x7FFFFFFF)])
async def test_a_message_above_the_bound_closes_the_link_before_it_is_read(path: str, frame: bytes) -> None:
    far = Recorder()
    async with serving(path, far, max_message_bytes=100), stranger(path) as (reader, writer):
        writer.write(frame)
        await far.until(lambda far: far.closed)
        assert isinstance(far.closed[0], MalformedRequest)
        assert b"it must have 1 to 100" in await reader.read()


async def test_a_link_that_is_not_read_becomes_unwritable_and_writable_again(path: str) -> None:
    far = Recorder()
    async with serving(path, far):
        near = Recorder()
        link = await connect_unix(path, near)
        written = 0
        while link.writable:
            link.write(bytes(100_000))
            written += 1
        assert near.times_writable == 0
        await near.until(lambda near: near.times_writable and near.link.writable)
        await far.until(lambda far: len(far.messages) == written)
        link.close()


async def test_a_closed_link_does_not_wait_for_one_who_does_not_read(path: str) -> None:
    far = Recorder()
    async with serving(path, far), stranger(path):
        await far.until(lambda far: far.links)
        while far.link.writable:
            far.link.write(bytes(100_000))
        far.link.close(LeaseFenced("go"))
        await far.until(lambda far: far.closed)
        assert isinstance(far.closed[0], LeaseFenced)


async def test_great_messages_lie_in_shared_memory_without_a_name(path: str, tmp_path: Path) -> None:
    before = set(os.listdir("/dev/shm"))
    far = Recorder()
    async with serving(path, far) as server:
        near = Recorder()
        link = await connect_unix(path, near)
        assert link.carrier == "unix+shm"
        await far.until(lambda far: far.links)
        assert far.link.carrier == "unix+shm"
        assert link.memory is not None
        assert far.link.memory is not None
        placed = link.memory.mine.put(bytes(1_000_000) + b"end")
        assert placed is not None
        block = far.link.memory.theirs.read(*placed)
        assert bytes(block[-3:]) == b"end"
        assert set(os.listdir("/dev/shm")) == before
        assert os.listdir(tmp_path) == ["worker.sock"]
        server.close()
        await near.until(lambda near: near.closed)
        assert link.memory.mine.put(b"x") is None
    assert bytes(block[-3:]) == b"end"
    assert os.listdir(tmp_path) == []


async def test_without_shared_memory_everything_goes_over_the_socket(path: str) -> None:
    far = Recorder()
    async with serving(path, far, shared=False):
        link = await connect_unix(path, Recorder())
        assert (link.carrier, link.memory) == ("unix", None)
        await far.until(lambda far: far.links)
        assert (far.link.carrier, far.link.memory) == ("unix", None)
        link.close()


async def test_no_memory_is_left_after_a_link(path: str) -> None:
    far = Recorder()
    async with serving(path, far):
        near = Recorder()
        for count in range(1, 4):
            link = await connect_unix(path, near)
            assert mapped() == 4
            link.close()
            await near.until(lambda near: len(near.closed) == count)  # noqa: B023
            await far.until(lambda far: len(far.closed) == count)  # noqa: B023
            assert mapped() == 0


async def test_a_server_that_stops_listening_keeps_its_links(path: str) -> None:
    far = echo()
    async with serving(path, far) as server:
        near = Recorder()
        link = await connect_unix(path, near)
        server.stop_listening()
        assert os.listdir(os.path.dirname(path)) == []
        link.write(b"still there")
        await near.until(lambda near: near.messages)
        with pytest.raises(FileNotFoundError):
            await connect_unix(path, near)
        link.close()
        await server.wait_closed()


async def test_who_has_not_greeted_does_not_hold_up_the_others_or_the_end(path: str) -> None:
    async with serving(path, echo()):
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(path)
        near = Recorder()
        (await connect_unix(path, near)).write(b"hello")
        await near.until(lambda near: near.messages)
    assert silent.recv(1) == b""
    silent.close()


async def test_who_does_not_greet_well_is_refused_and_logged(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(path, echo()):
        async with stranger(path, b"penstock\x02" + bytes(7)) as (reader, _):
            assert await reader.read() == b""
        assert "a connection was refused: the other side speaks version 2" in caplog.text
        near = Recorder()
        (await connect_unix(path, near)).write(b"hello")
        await near.until(lambda near: near.messages)


async def test_a_client_says_what_is_wrong_with_an_unlike_server(path: str) -> None:
    with listen_socket(path) as listener:
        connecting = asyncio.create_task(connect_unix(path, Recorder()))
        server, _ = await asyncio.get_running_loop().sock_accept(listener)
        with server:
            server.send(b"penstock\x02" + bytes(7))
            with pytest.raises(HandshakeFailed, match="speaks version 2 of the frames, this one 1"):
                await connecting


async def test_a_clients_handler_that_cannot_be_made_is_the_callers_error(path: str) -> None:
    def fail(link: Link) -> LinkHandler:
        raise ValueError("no")

    far = Recorder()
    async with serving(path, far):
        with pytest.raises(ValueError, match="no"):
            await connect_unix(path, fail)
        await far.until(lambda far: far.closed)


async def test_a_servers_handler_that_cannot_be_made_ends_that_link_only(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    far = echo()

    def fail_once(link: Link) -> LinkHandler:
        if not caplog.records:
            raise ValueError("no")
        return far(link)

    async with serving(path, fail_once):
        near = Recorder()
        await connect_unix(path, near)
        await near.until(lambda near: near.closed)
        assert isinstance(near.closed[0], WorkerLost)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        link = await connect_unix(path, near)
        link.write(b"hello")
        await near.until(lambda near: near.messages)


async def test_a_server_that_closes_does_not_wait_for_who_is_not_connected_yet(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def never(_link: Link) -> Link:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("penstock.exchange.unix.opened", never)
    server = await serve_unix(path, echo())
    async with stranger(path):
        await reached.wait()
        server.close()
        async with asyncio.timeout(20):
            await server.wait_closed()
