"""A real second process on the other end, which is killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.errors import WorkerLost
from penstock.exchange.link import Link
from penstock.exchange.unix import connect_unix, serve_unix
from penstock.testing.links import Recorder

pytestmark = pytest.mark.process

SERVER = """
import asyncio, sys
from penstock.exchange.unix import connect_unix, serve_unix
from penstock.testing.links import Recorder

def put(link, message):
    offset, size = link.memory.mine.put(message * 1000)
    link.write(b"%d %d" % (offset, size))

async def main():
    server = await serve_unix(sys.argv[1], Recorder(put))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

CLIENT = """
import asyncio, sys
from penstock.exchange.unix import connect_unix
from penstock.testing.links import Recorder

async def main():
    link = await connect_unix(sys.argv[1], Recorder())
    offset, size = link.memory.mine.put(b"abc" * 1000)
    link.write(b"%d %d" % (offset, size))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def other_process(code: str, path: str) -> AsyncIterator[Callable[[], None]]:
    """Yields what kills it."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, path, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process.kill
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def block(link: Link, message: bytes) -> memoryview:
    offset, size = map(int, message.split())
    assert link.memory is not None
    return link.memory.theirs.read(offset, size)


def memory_maps() -> list[str]:
    with open("/proc/self/maps") as maps:
        return [line for line in maps if "memfd:penstock" in line]


async def test_when_a_server_is_killed_what_it_wrote_stays_readable_and_nothing_else_is_left(tmp_path: Path) -> None:
    path, named = str(tmp_path / "worker.sock"), set(os.listdir("/dev/shm"))
    near = Recorder()
    async with other_process(SERVER, path) as kill:
        link = await connect_unix(path, near)
        link.write(b"abc")
        await near.until(lambda near: near.messages)
        answer = block(link, near.messages[0])
        kill()
        await near.until(lambda near: near.closed)
    assert isinstance(near.closed[0], WorkerLost)
    assert bytes(answer) == b"abc" * 1000
    assert memory_maps()
    del answer
    assert memory_maps() == []
    assert set(os.listdir("/dev/shm")) == named
    assert os.listdir(tmp_path) == ["worker.sock"]


async def test_a_successor_takes_the_place_of_a_killed_server(tmp_path: Path) -> None:
    path, near = str(tmp_path / "worker.sock"), Recorder()
    async with other_process(SERVER, path) as kill:
        with pytest.raises(OSError, match="another process answers there"):
            await serve_unix(path, Recorder())
        await connect_unix(path, near)
        kill()
        await near.until(lambda near: near.closed)
    with pytest.raises(ConnectionRefusedError):
        await connect_unix(path, near)
    async with other_process(SERVER, path):
        link = await connect_unix(path, near)
        link.write(b"abc")
        await near.until(lambda near: near.messages)
        assert bytes(block(link, near.messages[0])) == b"abc" * 1000
        link.close()
        await near.until(lambda near: len(near.closed) == 2)


async def test_when_a_client_is_killed_the_server_goes_on(tmp_path: Path) -> None:
    path, named = str(tmp_path / "worker.sock"), set(os.listdir("/dev/shm"))
    far = Recorder()
    server = await serve_unix(path, far)
    async with other_process(CLIENT, path) as kill:
        await far.until(lambda far: far.messages)
        question = block(far.link, far.messages[0])
        kill()
        await far.until(lambda far: far.closed)
    assert isinstance(far.closed[0], WorkerLost)
    assert bytes(question) == b"abc" * 1000
    del question
    assert memory_maps() == []
    async with other_process(CLIENT, path):
        await far.until(lambda far: len(far.messages) == 2)
        server.close()
        await server.wait_closed()
    assert set(os.listdir("/dev/shm")) == named
    assert os.listdir(tmp_path) == []
