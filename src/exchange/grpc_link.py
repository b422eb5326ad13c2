"""The carrier between hosts: WorkerService/Exchange. One message is under way at a time; the next one collects.

gRPC does not tell a gateway that has finished from one that was killed, so an empty message says the former.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from ..errors import PenstockError, WorkerLost
from ..rpc.call import Call
from ..rpc.errors import from_rpc_error
from .link import HandledLink, Link, MakeHandler

EXCHANGE = "/penstock.v1.WorkerService/Exchange"
Metadata = tuple[tuple[str, str | bytes], ...]

_LINGER = 1.0  # seconds that a closed link has to send what was written
_GOODBYE = b""
_GrpcCall = grpc.aio.StreamStreamCall[bytes, bytes]
_Broken = (grpc.aio.BaseError, asyncio.InvalidStateError)


async def connect_grpc(channel: grpc.aio.Channel, make_handler: MakeHandler, metadata: Metadata = ()) -> Link:
    """The gateway's side: open a stream. The channel stays the caller's; closing it ends the link.

    A worker that refuses the stream is heard of in on_closed.

    Raises:
        PenstockError: the worker cannot be reached (WorkerLost); or what `make_handler` raises.
    """
    exchange: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(EXCHANGE)
    call = exchange(metadata=metadata)
    try:
        await call.wait_for_connection()
        link = _GatewayLink(call)
        link.start(make_handler)
    except grpc.aio.AioRpcError as error:
        raise translated(error) from error
    except asyncio.CancelledError:
        call.cancel()
        if _cancelled():
            raise
        raise WorkerLost("the stream to the worker was cancelled before it was open") from None
    except BaseException:
        call.cancel()
        raise
    link.run()
    return link


async def serve_grpc(requests: AsyncIterator[bytes], call: Call, make_handler: MakeHandler) -> AsyncIterator[bytes]:
    """The worker's side: the body of the servicer's method, which yields what is to be sent.

    Raises:
        PenstockError: what the link was closed with, or `make_handler` raised; the gateway gets it as the status.
    """
    link = _WorkerLink(requests)
    link.start(make_handler)
    reading = asyncio.create_task(link.read())
    try:
        while (message := await link.next()) is not None:
            yield message
        if link.error is not None:
            raise link.error
    finally:  # also if the call is cancelled, which is how a gateway's death is heard of
        reading.cancel()
        link.end(None if link.peer_closed else WorkerLost(f"the gateway at {call.peer} has gone without a word"))


def translated(error: grpc.aio.AioRpcError) -> PenstockError:
    """The worker's own error, or what the library's means for a link."""
    known = from_rpc_error(error)
    if not known.reason and error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return WorkerLost("the connection to the worker broke, or there was none")
    return known


class _QueuedLink(HandledLink):
    """What both sides share: messages that wait for the one under way, of which callers make no more than one."""

    carrier = "grpc"

    def __init__(self) -> None:
        super().__init__()
        self._queue: deque[bytes] = deque()
        self._woken = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None

    async def next(self) -> bytes | None:
        """What is to be sent next; asking means that the one before has left. None: there will be nothing more."""
        while not self._queue:
            self.written()
            if self._over():
                return None
            if not self._queue:
                self._woken.clear()
                await self._woken.wait()
        return self._queue.popleft()

    def write(self, message: bytes) -> None:
        """See Link."""
        if self.closing:
            return
        self._queue.append(message)
        self.writable = False
        self._woken.set()

    def end(self, error: PenstockError | None) -> None:
        """The stream has ended."""
        if self._linger is not None:
            self._linger.cancel()
        self.ended(error)

    @property
    def error(self) -> PenstockError | None:
        """What this side closed it with."""
        return self._error

    def _over(self) -> bool:
        return self.closing

    def _begin_close(self) -> None:
        self._woken.set()
        self._linger = asyncio.get_running_loop().call_later(_LINGER, self._lingered)

    @abstractmethod
    def _lingered(self) -> None:
        """The other side does not read what was written before the link was closed."""


class _GatewayLink(_QueuedLink):
    """Two tasks, of which the reading one hears how the stream ends, whoever ends it."""

    def __init__(self, call: _GrpcCall) -> None:
        super().__init__()
        self._call = call

    def run(self) -> None:
        """Read and write until the stream ends."""
        self._writing = asyncio.create_task(self._write())
        self._reading = asyncio.create_task(self._read())

    async def _write(self) -> None:
        try:
            while (message := await self.next()) is not None:
                await self._call.write(message)
            await self._call.write(_GOODBYE)
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, *_Broken):
            pass  # the stream has ended; why, the reading task hears

    async def _read(self) -> None:
        call, error = self._call, None
        try:
            while isinstance(message := await call.read(), bytes):
                self.deliver((message,))
        except grpc.aio.AioRpcError as failed:
            error = translated(failed)
        except _Broken:
            error = WorkerLost("the stream to the worker broke")
        except asyncio.CancelledError:  # of the call, by a worker that stops or a channel that is closed; or of us
            error = WorkerLost("the stream to the worker was cancelled")
            if _cancelled():
                raise
        finally:
            call.cancel()
            self._writing.cancel()
            self.end(error)

    def _lingered(self) -> None:
        self._call.cancel()


class _WorkerLink(_QueuedLink):
    """Written by the servicer's method, read by a task beside it."""

    def __init__(self, requests: AsyncIterator[bytes]) -> None:
        super().__init__()
        self.peer_closed = False
        """The gateway has said that nothing more will come."""
        self._requests = requests
        self._read_all = False

    async def read(self) -> None:
        """Give on what comes; cancelled when the method ends."""
        try:
            async for request in self._requests:
                if request:
                    self.deliver((request,))
                else:
                    self.peer_closed = True
                    break
        except _Broken:
            pass  # then it has not said goodbye
        finally:
            self._read_all = True
            self._woken.set()

    def _over(self) -> bool:
        return self.closing or self._read_all

    def _lingered(self) -> None:
        self.ended(None)  # the call itself ends when the gateway or the server does


def _cancelled() -> bool:
    """Whether a CancelledError means this task, not only the gRPC call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
