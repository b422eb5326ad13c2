"""Sending a call of the control service on to the registry that answers it. Bytes go on untouched, both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import grpc.aio

from ..errors import Internal, PenstockError, RegistryUnavailable
from .errors import from_rpc_error

UNREACHABLE = "the registry cannot be reached; predictions go on, changes do not"


def unreachable_or(error: grpc.aio.AioRpcError) -> PenstockError:
    """What the registry said; or that nobody was there to say anything."""
    known = from_rpc_error(error)
    if known.reason or error.code() is not grpc.StatusCode.UNAVAILABLE:
        return known
    return RegistryUnavailable(UNREACHABLE)


async def answered(call: Any) -> bytes:
    """The one answer of a call. Raises PenstockError."""
    try:
        return await call  # type: ignore[no-any-return]
    except grpc.aio.AioRpcError as error:
        raise unreachable_or(error) from error


async def uploaded(send: Any, requests: AsyncIterator[bytes], **options: Any) -> bytes:
    """Send an upload on; its one answer. Raises PenstockError."""
    header: list[bytes] = []
    try:
        return await answered(send(_keep_first(requests, header), **options))
    except Internal as error:
        if error.reason or not header:
            raise
        # The registry answers as soon as it has the header if it needs no more; grpc.aio, when that comes in the middle
        # of its own write, says INTERNAL instead of the answer. The header alone is answered in the same way.
        return await answered(send(_keep_first(_each(header), []), **options))


async def _keep_first(requests: AsyncIterator[bytes], first: list[bytes]) -> AsyncIterator[bytes]:
    async for request in requests:
        if not first:
            first.append(request)
        yield request


async def _each(requests: Iterable[bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request
