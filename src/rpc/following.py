"""The registry's watch stream, over and over: from whichever registry answers, all that it says is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import grpc
import grpc.aio

from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from ..errors import RegistryUnavailable
from .backoff import Backoff
from .errors import from_rpc_error
from .registries import Registries

FIRST_S = 3.0
"""Seconds for the first message of a stream: a registry answers from memory."""
NOBODY_LEADS_S = 1.0
"""Seconds to wait at most where a registry is there that waits for another one to lead: to ask it costs nothing."""


async def follow(
    registries: Registries,
    api_key: str,
    random: Random,
    *,
    take: Callable[[pb.WatchResponse], None],
    lost: Callable[[str], None],
) -> None:
    """Follow until cancelled; a broken stream is tried again after up to 0.2 to 10 s, or when a registry is back.

    Args:
        registries: owned by the caller.
        api_key: for the registry; empty: none.
        random: for jitter.
        take: told each message; the first one of each stream is a snapshot.
        lost: told why a stream has ended.
    """
    metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
    backoff = Backoff(random)

    def heard(change: pb.WatchResponse) -> None:
        backoff.reset()
        take(change)

    while True:
        channel, most_s = registries.channel, backoff.most_s
        try:
            await _stream(channel, metadata, heard)
            lost("it ended the stream")
        except grpc.aio.AioRpcError as error:
            lost(error.code().name)
            if isinstance(from_rpc_error(error), RegistryUnavailable):
                most_s = NOBODY_LEADS_S
        except TimeoutError:
            lost("it is silent")
        registries.failed(channel)
        await registries.pause(min(backoff.next(), most_s))


async def _stream(
    channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], take: Callable[[pb.WatchResponse], None]
) -> None:
    call = RegistryServiceStub(channel).Watch(pb.WatchRequest(), metadata=metadata)
    try:
        async with asyncio.timeout(FIRST_S):
            change = await call.read()
        while isinstance(change, pb.WatchResponse):
            take(change)
            change = await call.read()
    finally:
        call.cancel()
