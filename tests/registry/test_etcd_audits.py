"""The log of control calls in etcd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from penstock import errors
from penstock.registry.state import Audit, Key
from penstock.registry.store import AUDIT_SECONDS
from penstock.registry.stores.etcd.audits import Audits
from penstock.registry.stores.etcd.keys import Keys
from penstock.registry.stores.etcd.store import EtcdStore
from penstock.testing.etcd import WHERE, etcd, has_etcd

from .backends import EtcdBackend


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not has_etcd():
        pytest.skip(WHERE)
    with etcd(tmp_path_factory.mktemp("etcd")) as made:
        yield made.url("audits")


@asynccontextmanager
async def backend(url: str, prefix: str) -> AsyncIterator[EtcdBackend]:
    made = EtcdBackend(f"{url}-{prefix}")
    try:
        yield made
    finally:
        await made.close()


async def opened(backend: EtcdBackend, most: int = 0) -> EtcdStore:
    """The store as a process that begins to lead has it."""
    store = await backend.open()
    if most:
        store._audits = Audits(Keys(backend.address.prefix), backend.clients[-1].range, most)
    await store.begin_run()
    await store.load()
    return store


def audit(number: int, time: float = 1.0, subject: str = "digits") -> Audit:
    return Audit(time, "ann", "SetAlias", subject, f"change {number}", "DONE", f"call-{number}")


async def changes(
    store: EtcdStore, subject: str = "", since: float = 0.0, before: int = 0, limit: int = 10
) -> list[str]:
    return [line.change for line in await store.list_audit(subject, since, before, limit)]


async def test_lines_are_there_again_the_newest_first_and_in_pages(url: str) -> None:
    async with backend(url, "pages") as made:
        store = await opened(made)
        await store.save_audit(audit(1, 5.0))
        await store.save_key(Key("k", "ann", ("admin",), bytes(32), 1.0), audit(2, 5.0, "k"))
        await store.drop_key("k", audit(3, 6.0, "k"))
        store = await opened(made)
        await store.save_audit(audit(4, 4.0))  # by a clock that was set back
        found = await store.list_audit("", 0.0, 0, 10)
        assert [line.change for line in found] == ["change 4", "change 3", "change 2", "change 1"]
        assert [line.id for line in found] == sorted((line.id for line in found), reverse=True)
        assert (found[1].time, found[1].principal, found[1].request_id) == (6.0, "ann", "call-3")
        assert await changes(store, before=found[1].id) == ["change 2", "change 1"]
        assert await changes(store, subject="k") == ["change 3", "change 2"]
        assert await changes(store, since=5.5) == ["change 3"]
        assert await changes(store, limit=2) == ["change 4", "change 3"]


async def test_the_log_is_bounded_in_number(url: str) -> None:
    async with backend(url, "number") as made:
        store = await opened(made, most=3)
        for number in range(7):
            await store.save_audit(audit(number))
        assert await changes(store) == ["change 6", "change 5", "change 4"]
        store = await opened(made, most=3)  # the next one counts on
        for number in range(7, 10):
            await store.save_audit(audit(number))
        assert await changes(store) == [f"change {number}" for number in (9, 8, 7, 6, 5, 4)]  # it is not exact
        await store.save_audit(audit(10))
        assert await changes(store) == ["change 10", "change 9", "change 8"]


async def test_the_log_is_bounded_in_time(url: str) -> None:
    async with backend(url, "time") as made:
        store = await opened(made)
        await store.save_audit(audit(1, 1.0))
        await store.save_audit(audit(2, 100.0))
        await store.save_audit(audit(3, AUDIT_SECONDS + 50.0))
        assert await changes(store) == ["change 3", "change 2"]


async def test_a_line_of_a_change_that_was_not_made_is_not_there(url: str) -> None:
    async with backend(url, "both") as made:
        store = await opened(made)
        await made.crash()
        with pytest.raises(errors.RegistryUnavailable):
            await store.save_key(Key("k", "ann", ("admin",), bytes(32), 1.0), audit(1))
        assert await changes(await opened(made)) == []
