"""The stores under test, each of which can be closed in order or left as by a crash, and opened again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import pytest

from penstock import errors
from penstock.registry.store import Store
from penstock.registry.stores.etcd.address import parse
from penstock.registry.stores.etcd.client import EtcdClient
from penstock.registry.stores.etcd.store import EtcdStore
from penstock.registry.stores.etcd.term import Term, campaign
from penstock.registry.stores.sqlite import SqliteStore

from .conftest import worker


class Backend(Protocol):
    """What survives a process."""

    async def open(self) -> Store:
        """The store, as a new process sees it."""

    async def crash(self) -> None:
        """The process that has it open is gone without a word. What it still tries must change nothing."""

    async def close(self) -> None:
        """End for good."""


class SqliteBackend:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: list[SqliteStore] = []

    async def open(self) -> SqliteStore:
        self._opened.append(SqliteStore(self._path))
        return self._opened[-1]

    async def crash(self) -> None:
        """Its lock on the folder is what keeps a second process away: see serve."""

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


class EtcdBackend:
    """A part of an etcd."""

    def __init__(self, url: str) -> None:
        self.address = parse(url)
        self.clients: list[EtcdClient] = []
        self.term: Term | None = None
        self._store: EtcdStore | None = None

    async def open(self) -> EtcdStore:
        self.clients.append(EtcdClient(self.address))
        if self.term is not None:
            await self.term.resign()
        term = await campaign(self.clients[-1], self.address.prefix, "here:1", time.monotonic)
        assert isinstance(term, Term)
        self.term = term
        self._store = EtcdStore(self.clients[-1], self.address.prefix, term)
        return self._store

    async def crash(self) -> None:
        """Etcd ends its lease, and it has not noticed."""
        assert self.term is not None
        assert self._store is not None
        paused, self.term = self.term, None
        other = EtcdClient(self.address)
        await other.revoke(paused.lease)
        await other.close()
        assert paused.holds
        with pytest.raises(errors.RegistryUnavailable):
            await self._store.grant(worker("of-a-paused-registry"))
        assert not paused.holds

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
