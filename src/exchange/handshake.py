"""The first bytes on a unix socket: who speaks which version, and the shared memory of both sides.

The client sends a greeting, the server answers with its own. A greeting is 16 bytes in every version:

    "penstock", version, 1 if shared memory comes with it (else 0), six bytes that are 0

The memory is a descriptor that travels beside the greeting (SCM_RIGHTS). Both share, or neither does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from struct import Struct

from .memory import Arena, SharedMemory, View

VERSION = 1
"""Of the frames and of what is in them; another one where unlike releases would not understand each other."""
_TIMEOUT = 5.0  # seconds to wait for a greeting
_GREETING = Struct("<8sBB6x")
_MAGIC = b"penstock"
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class HandshakeFailed(ConnectionError):
    """The other side cannot be spoken with over this socket; over gRPC perhaps."""


async def greet(sock: socket.socket, *, shared: bool, timeout: float = _TIMEOUT) -> SharedMemory | None:
    """The client's part, on a socket that does not block. What comes after the greeting is left unread.

    Raises:
        HandshakeFailed: the other side speaks another version, is no Penstock, or is silent.
        OSError: the connection broke.
    """
    mine = _new_arena() if shared else None
    try:
        _send(sock, mine)
        theirs = await _receive(sock, timeout)
    except BaseException:
        _drop(mine)
        raise
    return _both(mine, theirs)


async def answer(sock: socket.socket, *, shared: bool, timeout: float = _TIMEOUT) -> SharedMemory | None:
    """The server's part; as `greet`."""
    try:
        theirs = await _receive(sock, timeout)
    except HandshakeFailed:
        with contextlib.suppress(OSError):
            _send(sock, None)  # so that the client, too, sees which version this is
        raise
    mine = _new_arena() if shared and theirs is not None else None
    try:
        _send(sock, mine)
    except BaseException:
        _drop(mine)
        _drop(theirs)
        raise
    return _both(mine, theirs)


def _both(mine: Arena | None, theirs: View | None) -> SharedMemory | None:
    if mine is None or theirs is None:
        _drop(mine)
        _drop(theirs)
        return None
    mine.sent()
    return SharedMemory(mine, theirs)


def _drop(half: Arena | View | None) -> None:
    if half is not None:
        half.close()


def _new_arena() -> Arena | None:
    """None where there is no such memory: then everything goes over the socket."""
    try:
        return Arena()
    except OSError:
        return None


def _send(sock: socket.socket, arena: Arena | None) -> None:
    greeting = _GREETING.pack(_MAGIC, VERSION, arena is not None)
    socket.send_fds(sock, [greeting], [] if arena is None else [arena.descriptor])  # the socket is empty: all fits


async def _receive(sock: socket.socket, timeout: float) -> View | None:
    """The other side's greeting, and its memory if it shares any."""
    descriptors: list[int] = []
    try:
        try:
            async with asyncio.timeout(timeout):
                greeting = await _read(sock, descriptors)
        except TimeoutError:
            raise HandshakeFailed(f"the other side has not said who it is within {timeout:g} s") from None
        magic, version, shares = _GREETING.unpack(greeting)
        if magic != _MAGIC:
            raise HandshakeFailed("the other side is no Penstock")
        if version != VERSION:
            raise HandshakeFailed(f"the other side speaks version {version} of the frames, this one {VERSION}")
        if not shares:
            return None
        if not descriptors:
            raise HandshakeFailed("the other side's memory did not arrive: this process has too many open files")
        return _view(descriptors[0])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _view(descriptor: int) -> View:
    try:
        return View(descriptor)
    except (OSError, ValueError) as error:
        raise HandshakeFailed(f"the other side's memory cannot be used: {error}") from error


async def _read(sock: socket.socket, descriptors: list[int]) -> bytes:
    """16 bytes, and the descriptors that came with them."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    greeting = b""
    loop.add_reader(sock, readable.set)
    try:
        while missing := _GREETING.size - len(greeting):
            await readable.wait()
            readable.clear()
            with contextlib.suppress(BlockingIOError):
                data, came, _, _ = socket.recv_fds(sock, missing, 4, _CLOSE_ON_EXEC)
                descriptors += came
                if not data:
                    raise HandshakeFailed("the other side closed the connection before it said who it is")
                greeting += data
    finally:
        loop.remove_reader(sock)
    return greeting
