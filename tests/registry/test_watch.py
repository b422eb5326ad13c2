from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.errors import Draining
from penstock.registry import watch
from penstock.registry.state import Worker
from penstock.registry.watch import Hub, Kind

from .conftest import worker


def put(hub: Hub, worker_id: str, **more: Any) -> Worker:
    record = worker(worker_id, **more)
    hub.put(Kind.WORKER, worker_id, record)
    return record


async def test_a_watcher_gets_everything_and_then_what_changed() -> None:
    hub = Hub(100)
    first = put(hub, "a")
    with hub.watch() as watcher:
        assert await watcher.next() == watch.Update(101, True, (first,))
        second = put(hub, "b")
        assert await watcher.next() == watch.Update(102, False, (second,))
        hub.remove(Kind.WORKER, "a")
        assert await watcher.next() == watch.Update(103, False, (), ((Kind.WORKER, "a"),))


async def test_a_slow_watcher_gets_only_the_last_of_several_changes() -> None:
    hub = Hub()
    with hub.watch() as watcher:
        await watcher.next()
        for pid in range(1000):
            last = put(hub, "a", pid=pid)
        put(hub, "b")
        hub.remove(Kind.WORKER, "b")
        update = await watcher.next()
    assert update == watch.Update(1002, False, (last,), ((Kind.WORKER, "b"),))


async def test_a_backlog_above_the_bound_becomes_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_BACKLOG", 10)
    hub = Hub()
    with hub.watch() as watcher:
        await watcher.next()
        for number in range(11):
            put(hub, str(number))
            hub.remove(Kind.WORKER, str(number))
        last = put(hub, "last")
        assert await watcher.next() == watch.Update(23, True, (last,))
        put(hub, "more")
        assert not (await watcher.next()).snapshot


async def test_a_record_that_is_known_already_is_not_told_again() -> None:
    hub = Hub()
    put(hub, "a")
    put(hub, "a")
    hub.remove(Kind.WORKER, "unknown")
    assert hub.revision == 1


async def test_a_closed_hub_ends_those_who_wait_and_those_who_come() -> None:
    hub = Hub()
    with hub.watch() as watcher:
        await watcher.next()
        waiting = asyncio.create_task(watcher.next())
        await asyncio.sleep(0)
        hub.close(Draining("bye"))
        with pytest.raises(Draining):
            await waiting
    with hub.watch() as late, pytest.raises(Draining):
        await late.next()
