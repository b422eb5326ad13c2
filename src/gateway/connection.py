"""Keeps a gateway connected to one worker: which carrier, which streams, and what to do when they break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import grpc
import grpc.aio

from penstock.v1 import worker_pb2 as pb

from ..errors import PenstockError, WorkerLost
from ..exchange.grpc_link import connect_grpc
from ..exchange.link import Link, LinkHandler
from ..exchange.memory import SharedMemory
from ..exchange.outbox import Outbox
from ..exchange.pace import Pace
from ..exchange.unix import connect_unix
from ..rpc.channel import connect
from .endpoint import Endpoint

SMALL_BYTES, STREAM_BYTES = 8 * 1024, 64 * 1024
"""Up to which size questions share the first and the second stream of a gRPC connection. Greater ones go alone."""
_OPEN_TIMEOUT = 1.0
_FIRST_BACKOFF, _MAX_BACKOFF = 0.05, 2.0
_STABLE = 1.0
"""Seconds after which a connection that breaks is made anew at once."""

Box = Outbox[pb.ExchangeRequest]


class User(Protocol):
    """Who exchanges messages over a connection."""

    pace: Pace
    """Of small questions."""

    def hello(self, stream: int) -> pb.ExchangeHello:
        """Opens a stream."""

    def received(self, response: pb.ExchangeResponse) -> bool:
        """A message has come; returns whether it was the welcome."""

    def down(self) -> None:
        """What was up has broken; it is tried again at once."""

    def lost(self) -> None:
        """The worker cannot be reached. It is tried again, but not soon."""


class Connection:
    """The streams to one worker, all up or all down. Belongs to a subchannel."""

    def __init__(self, endpoint: Endpoint, carrier: str, user: User) -> None:
        self.channel = connect(endpoint.address)
        self.channel_ready = False
        """Of the gRPC channel, which is kept up whatever the carrier: it notices a worker that is frozen."""
        self.carrier = ""
        """Of what is up."""
        self.small: Box | None = None
        self.medium: Box | None = None
        """For questions up to SMALL_BYTES and STREAM_BYTES; both the same but over gRPC. None while it is down."""
        self.memory: SharedMemory | None = None
        self._endpoint = endpoint
        self._carriers = endpoint.carriers(carrier)
        self._user = user
        self._streams: list[_Stream] = []
        self._welcomed: asyncio.Future[None] | None = None
        self._broken = asyncio.Event()
        self._probing = False
        self._tasks = {asyncio.create_task(self._run()), asyncio.create_task(self._watch())}

    async def _run(self) -> None:
        backoff = _FIRST_BACKOFF
        loop = asyncio.get_running_loop()
        while True:
            if await self._open():
                since = loop.time()
                await self._broken.wait()
                self._drop()
                self._user.down()
                if loop.time() - since >= _STABLE:
                    backoff = _FIRST_BACKOFF
                    continue
            else:
                self._user.lost()
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _MAX_BACKOFF)

    async def _open(self) -> bool:
        """Try the carriers in turn, until one is welcome."""
        for carrier in self._carriers:
            self._broken.clear()
            self._welcomed = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_OPEN_TIMEOUT):
                    await self._connect(carrier)
                    await self._welcomed
            except (OSError, PenstockError):  # OSError: a timeout, too
                self._drop()
            else:
                return True
            finally:
                self._welcomed = None
        return False

    async def _connect(self, carrier: str) -> None:
        if carrier == "unix":
            await connect_unix(self._endpoint.local_address, self._stream(0))
        else:
            for number in (1, 0):  # 0 is the one that is welcomed: when it is, all are there
                await connect_grpc(self.channel, self._stream(number))

    def _stream(self, number: int) -> Callable[[Link], LinkHandler]:
        def make(link: Link) -> LinkHandler:
            stream = _Stream(self, link)
            self._streams.append(stream)
            if number == 0:
                stream.outbox.pace = self._user.pace
            stream.outbox.message.hello.CopyFrom(self._user.hello(number))
            stream.outbox.touch()
            stream.outbox.attach(link)
            return stream

        return make

    def received(self, response: pb.ExchangeResponse, stream: _Stream) -> None:
        """A stream has got a message."""
        if stream not in self._streams:
            return  # it came too late
        if response.HasField("welcome"):
            self.small, self.medium = stream.outbox, self._streams[0].outbox
            self.carrier, self.memory = stream.link.carrier, stream.link.memory
        if self._user.received(response) and self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_result(None)

    def closed(self, stream: _Stream, error: Exception | None) -> None:
        """A stream has ended: so do the others."""
        if stream in self._streams:
            if self._welcomed is not None and not self._welcomed.done():
                self._welcomed.set_exception(error or WorkerLost("the worker closed the connection"))
            self._broken.set()

    def give_up(self) -> None:
        """The worker does not answer: do as if the connection had broken."""
        self._drop()
        self._broken.set()

    def probe(self, told: Callable[[bool], None]) -> None:
        """Find out whether the worker lives: whether it takes one more connection. One question at a time.

        Over a unix socket the channel does not notice a frozen worker while the write of a great message is stuck: its
        pings are stuck behind it.
        """
        if not self._probing:
            self._probing = True
            task = asyncio.create_task(self._probe(told))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _probe(self, told: Callable[[bool], None]) -> None:
        lives = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_TIMEOUT), connect(self._endpoint.address) as channel:
                await channel.channel_ready()
                lives = True
        self._probing = False
        told(lives)

    def _drop(self) -> None:
        streams, self._streams = self._streams, []
        self.small = self.medium = self.memory = None
        self.carrier = ""
        for stream in streams:
            stream.outbox.detach()
            stream.link.close()

    async def _watch(self) -> None:
        """Follow the channel, and keep it up."""
        while True:
            state = self.channel.get_state(try_to_connect=True)
            self.channel_ready = state is grpc.ChannelConnectivity.READY
            await self.channel.wait_for_state_change(state)

    async def close(self, grace: float) -> None:
        """End it; calls of their own may go on for `grace` seconds."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._drop()
        await self.channel.close(grace=grace)


class _Stream:
    """The handler of one link."""

    def __init__(self, connection: Connection, link: Link) -> None:
        self.link = link
        self.outbox: Box = Outbox(pb.ExchangeRequest)
        self._connection = connection

    def on_message(self, message: bytes) -> None:
        """See LinkHandler."""
        self._connection.received(pb.ExchangeResponse.FromString(message), self)

    def on_writable(self) -> None:
        """See LinkHandler."""
        self.outbox.on_writable()

    def on_closed(self, error: Exception | None) -> None:
        """See LinkHandler."""
        self._connection.closed(self, error)
