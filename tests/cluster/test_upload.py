"""Uploads through the gateway to a registry that refuses them by their header."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from penstock import errors
from penstock.rpc.channel import client_options
from penstock.rpc.errors import from_rpc_error
from penstock.v1 import registry_pb2 as pb

from .conftest import World


async def test_a_refusal_in_the_middle_of_an_upload_reaches_the_caller_as_it_is(world: World) -> None:
    gateway, _ = await world.served()

    def parts() -> Iterator[bytes]:
        yield pb.PublishRequest(header=pb.PublishHeader(name="digits")).SerializeToString()
        for _ in range(50):
            yield pb.PublishRequest(chunk=bytes(1_000_000)).SerializeToString()

    def publish() -> None:
        with grpc.insecure_channel(gateway.address, client_options()) as channel:
            send: Any = channel.stream_unary("/penstock.v1.RegistryService/Publish")
            try:
                send(parts(), timeout=60)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None

    for _ in range(10):  # at another moment each time
        with pytest.raises(errors.VersionExists):
            await asyncio.to_thread(publish)
