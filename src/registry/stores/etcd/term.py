"""Who of several registries leads: whoever made the key that ends with its lease in etcd, for as long as it is there.

Each write of the one that leads depends on that key (see store), so that one that was paused, or cut off, changes
nothing any more; and it stops answering by its own clock before etcd ends the lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from penstock.etcd.v3 import etcd_pb2 as pb

from ....errors import PenstockError
from . import operations
from .client import EtcdClient

TTL_S = 5
"""Seconds after which another one leads if the one that leads is gone without a word."""
_RETRY_S = 0.5

log = logging.getLogger("penstock.registry")


class Term:
    """The time for which one registry leads. Made by `campaign`.

    Args:
        client: to etcd.
        key: whose presence says that somebody leads.
        revision: at which it was made; greater than that of any term before.
        lease: with which it ends.
        expires: when, at the latest, others may lead, in monotonic seconds.
        monotonic: the clock.
    """

    def __init__(
        self, client: EtcdClient, key: bytes, revision: int, lease: int, expires: float, monotonic: Callable[[], float]
    ) -> None:
        self.key = key
        self.revision = revision
        self.lost = asyncio.Event()
        """Set when it is over, or when what the store holds is no longer known."""
        self._client = client
        self.lease = lease
        self._expires = expires
        self._monotonic = monotonic

    @property
    def holds(self) -> bool:
        """Whether nobody else can lead yet."""
        return not self.lost.is_set() and self._monotonic() < self._expires

    async def keep(self) -> None:
        """Prolong it until it is lost; however this ends, it is."""
        try:
            await self._keep()
        finally:
            self.lost.set()

    async def _keep(self) -> None:
        pause = TTL_S / 3
        while not self.lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, max(0.0, self._expires - self._monotonic()))):
                    await self.lost.wait()
            asked = self._monotonic()
            if asked >= self._expires:
                log.warning("this registry could not prolong its lead in time")
                return
            pause = await self._prolong(asked)

    async def _prolong(self, asked: float) -> float:
        """Ask etcd; returns after how many seconds to ask again."""
        try:
            ttl = await self._client.keep_alive(self.lease)
        except PenstockError:
            return _RETRY_S
        if ttl <= 0:
            log.warning("this registry leads no longer: its lease is over")
            self.lost.set()
        self._expires = asked + ttl
        return TTL_S / 3

    async def resign(self) -> None:
        """Let another one lead at once; if etcd does not hear it, when this client stands again or the lease ends."""
        self.lost.set()
        with suppress(PenstockError):
            await self._client.revoke(self.lease)


async def campaign(client: EtcdClient, prefix: str, address: str, monotonic: Callable[[], float]) -> Term | str:
    """Lead, if nobody does.

    Args:
        client: to etcd.
        prefix: of all keys.
        address: where others reach this registry.
        monotonic: seconds.

    Returns:
        The term; or the address of the one that leads.

    Raises:
        PenstockError: etcd does not say; nobody leads for this call.
    """
    key = f"/{prefix}/leader".encode()
    leads = await client.range(pb.RangeRequest(key=key))
    if leads.kvs and client.given_up and leads.kvs[0].lease == client.given_up:
        await client.revoke(client.given_up)  # our own last term: etcd has not heard that it is over
    elif leads.kvs:
        return leads.kvs[0].value.decode(errors="replace")
    asked = monotonic()
    lease = await client.grant(TTL_S)
    try:
        steps = [operations.put(key, address.encode(), lease.id)]
        answer = await client.txn([operations.exists_since(key, 0)], steps, [operations.read(key)])
    except PenstockError:
        with suppress(PenstockError):
            await client.revoke(lease.id)  # and with it the key, if it was made
        raise
    if answer.succeeded:
        return Term(client, key, answer.header.revision, lease.id, asked + lease.ttl, monotonic)
    [found] = answer.responses[0].response_range.kvs or [pb.KeyValue()]
    if found.lease == lease.id:  # it was made when this was sent for the first time
        return Term(client, key, found.create_revision, lease.id, asked + lease.ttl, monotonic)
    await client.revoke(lease.id)
    return found.value.decode(errors="replace")
