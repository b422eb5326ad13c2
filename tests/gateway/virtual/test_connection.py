"""A connection whose worker welcomes it without losing a moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.exchange.link import Link, MakeHandler
from penstock.exchange.pace import Pace
from penstock.gateway import connection
from penstock.gateway.connection import Connection
from penstock.testing.links import Recorder, linked
from penstock.v1 import worker_pb2 as pb

from .fakes import endpoint


class User:
    """Hears of what comes, and asks for nothing."""

    def __init__(self) -> None:
        self.welcomed = asyncio.Event()
        self.pace = Pace()

    def hello(self, stream: int) -> pb.ExchangeHello:
        return pb.ExchangeHello(stream=stream)

    def received(self, response: pb.ExchangeResponse) -> bool:
        self.welcomed.set()
        return response.HasField("welcome")

    def down(self) -> None: ...

    def lost(self) -> None: ...


def welcome(link: Link, message: bytes) -> None:
    request = pb.ExchangeRequest.FromString(message)
    if request.hello.stream == 0:
        link.write(pb.ExchangeResponse(welcome=pb.ExchangeWelcome(max_batch_size=16)).SerializeToString())


async def test_once_it_is_welcome_both_streams_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(channel: Any, make_handler: MakeHandler) -> Link:
        link, _ = linked(make_handler, Recorder(welcome))
        await asyncio.sleep(0.01)  # what the worker says may be here before the stream is known to be open
        return link

    monkeypatch.setattr(connection, "connect_grpc", connect)
    user = User()
    made = Connection(endpoint("a"), "grpc", user)
    await user.welcomed.wait()
    assert made.small is not None
    assert made.medium is not None
    assert made.small is not made.medium
    assert (made.small.pace, made.medium.pace) == (user.pace, None)
    await made.close(0)
