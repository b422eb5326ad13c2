from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import InvalidArgument, LeaseFenced, ModelNotFound, NotFound, VersionNotAvailable, VersionNotFound
from penstock.registry.fleet import LOAD_TTL_S
from penstock.registry.registry import opened
from penstock.registry.state import LoadReport, State, VersionView, Worker
from penstock.registry.watch import Kind

from .conftest import World, draft, stored, worker
from .test_store import SIGNATURE


def version(world: World, number: int = 1) -> VersionView:
    return next(v for v in world.registry.model("digits").versions if v.version.number == number)


def states(world: World) -> list[str]:
    return [v.state.name for v in world.registry.model("digits").versions]


def load(world: World, worker_id: str, number: int = 1, error: str = "", **more: Any) -> None:
    state = State.END if error else State.LOADING
    world.registry.report_load(worker(worker_id, version=number, state=state, **more), error)


async def test_the_life_of_a_version(world: World) -> None:
    registry = world.registry
    await registry.publish(draft(), "ann")
    assert states(world) == ["START"]
    load(world, "w1", stage="fetching", progress=0.5)
    assert states(world) == ["LOADING"]
    await registry.register_worker(worker(), SIGNATURE)
    assert states(world) == ["AVAILABLE"]
    assert version(world).version.signature == SIGNATURE
    await registry.undeploy("digits", 0)
    assert states(world) == ["UNLOADING"]
    await registry.revoke_lease("w1")
    assert states(world) == ["END"]
    await registry.deploy("digits", 0, 0, "")
    assert states(world) == ["START"]


async def test_a_failed_load_is_visible_until_another_begins(world: World) -> None:
    await world.registry.publish(draft(), "ann")
    load(world, "w1")
    load(world, "w1", error="no such file")
    assert (states(world), version(world).load_error) == (["END"], "no such file")
    load(world, "w2")
    assert (states(world), version(world).load_error) == (["LOADING"], "")


async def test_a_failed_load_stays_visible_while_its_sibling_goes_on_and_ends_with_a_registration(world: World) -> None:
    await world.registry.publish(draft(instances=2), "ann")
    load(world, "w1")
    load(world, "w2")
    load(world, "w1", error="boom")
    load(world, "w2", progress=0.9)
    assert version(world).load_error == "boom"
    await world.registry.register_worker(worker("w2"), None)
    assert version(world).load_error == ""


async def test_a_late_report_of_a_load_does_not_undo_a_registration(world: World) -> None:
    await world.publish_and_serve(1, "w1")
    load(world, "w1", progress=0.9)
    assert states(world) == ["AVAILABLE"]


async def test_a_load_that_nobody_speaks_of_any_more_is_dropped(world: World) -> None:
    await world.registry.publish(draft(), "ann")
    load(world, "w1")
    world.monotonic.now += LOAD_TTL_S
    await world.registry.tick()
    assert states(world) == ["START"]


async def test_a_load_that_is_neither_is_refused(world: World) -> None:
    await world.registry.publish(draft(), "ann")
    with pytest.raises(InvalidArgument):
        world.registry.report_load(worker(state=State.AVAILABLE), "")


@pytest.mark.parametrize("bad", [worker(worker_id=""), worker(worker_id="a\nb"), worker(address="")])
async def test_a_worker_without_id_or_address_is_refused(world: World, bad: object) -> None:
    await world.registry.publish(draft(), "ann")
    with pytest.raises(InvalidArgument):
        await world.registry.register_worker(bad, None)  # type: ignore[arg-type]


async def test_a_worker_of_an_unknown_model_or_version_is_refused(world: World) -> None:
    await world.registry.publish(draft(), "ann")
    with pytest.raises(ModelNotFound):
        await world.registry.register_worker(worker(name="speech"), None)
    with pytest.raises(VersionNotFound):
        await world.registry.register_worker(worker(version=2), None)


async def test_a_silent_worker_is_gone_after_its_ttl(world: World) -> None:
    await world.publish_and_serve(1, "w1")
    for _ in range(9):
        world.monotonic.now += 1.0
        await world.registry.tick()
    assert states(world) == ["AVAILABLE"]
    world.monotonic.now += 1.0
    await world.registry.tick()
    assert states(world) == ["START"]
    assert (await world.store.load()).workers == ()


async def test_workers_live_on_when_the_registry_itself_stood_still(world: World) -> None:
    await world.publish_and_serve(1, "w1")
    world.monotonic.now += 3600.0
    await world.registry.tick()
    assert states(world) == ["AVAILABLE"]


async def test_a_worker_that_registers_anew_fences_its_older_self(world: World) -> None:
    await world.registry.publish(draft(), "ann")
    first = await world.registry.register_worker(worker(), None)
    second = await world.registry.register_worker(worker(), None)
    assert second.epoch > first.epoch
    with pytest.raises(LeaseFenced):
        await world.registry.renew_lease("w1", first.epoch, LoadReport(), False)
    assert not await world.registry.renew_lease("w1", second.epoch, LoadReport(), False)


async def test_a_drained_worker_is_told_so_at_its_next_renewal(world: World) -> None:
    await world.registry.publish(draft(), "ann")
    epoch = (await world.registry.register_worker(worker(), None)).epoch
    assert (await world.registry.drain_worker("w1")).state is State.UNLOADING
    assert states(world) == ["START"]
    assert await world.registry.renew_lease("w1", epoch, LoadReport(), False)
    with pytest.raises(NotFound):
        await world.registry.drain_worker("w2")


async def test_a_worker_that_begins_to_drain_says_so(world: World) -> None:
    await world.registry.publish(draft(), "ann")
    epoch = (await world.registry.register_worker(worker(), None)).epoch
    await world.registry.renew_lease("w1", epoch, LoadReport(rows=5), True)
    assert states(world) == ["START"]


async def test_a_worker_that_drains_late_does_not_take_the_place_of_its_successor(world: World) -> None:
    await world.registry.publish(draft(), "ann")
    old = await world.registry.register_worker(worker(), None)
    new = await world.registry.register_worker(worker(address="unix:/run/new"), None)
    assert await world.registry.fleet.note_draining(old) == ()
    assert new in world.registry.hub.snapshot().records
    assert states_of_workers(world) == [State.AVAILABLE]


def states_of_workers(world: World) -> list[State]:
    return [one.state for one in world.registry.hub.snapshot().records if isinstance(one, Worker)]


async def test_an_alias_moves_only_to_what_is_available_and_rolls_back(world: World) -> None:
    registry = world.registry
    await world.publish_and_serve(1, "w1")
    await registry.publish(draft(version=2, content=b"2"), "ann")
    with pytest.raises(VersionNotAvailable):
        await registry.set_alias("digits", "stable", 2, None, "bob")
    await registry.register_worker(worker("w2", version=2), None)
    assert (await registry.set_alias("digits", "stable", 2, 1, "bob"))[1] == 1
    model, now, before = await registry.rollback_alias("digits", "", "cid")
    assert (model.aliases, now, before) == ({"stable": 1}, 1, 2)
    history = [(c.version, c.previous, c.principal) for c in registry.alias_changes("digits", "stable")]
    assert history == [(1, 2, "cid"), (2, 1, "bob"), (1, 0, "ann")]


async def test_the_version_that_an_alias_left_stays_loaded_for_a_while(world: World) -> None:
    registry = world.registry
    for number in (1, 2):
        await world.publish_and_serve(number, f"w{number}")
    await registry.set_alias("digits", "stable", 2, None, "bob")
    world.wall.now += 299.0
    await registry.tick()
    assert [v.desired_instances for v in registry.model("digits").versions] == [1, 1]
    revision = registry.hub.revision
    world.wall.now += 1.0
    await registry.tick()
    assert registry.hub.revision == revision + 1  # followers are told by the tick, not by the next caller
    assert states(world) == ["UNLOADING", "AVAILABLE"]


async def test_followers_see_what_callers_see(world: World) -> None:
    registry = world.registry
    with registry.hub.watch() as watcher:
        assert (await watcher.next()).records == ()
        await world.publish_and_serve(1, "w1")
        update = await watcher.next()
        assert registry.model("digits") in update.records
        assert len(update.records) == 2
        await registry.revoke_lease("w1")
        update = await watcher.next()
        assert update.records == (registry.model("digits"),)
        assert update.removed == ((Kind.WORKER, "w1"),)


async def test_a_registry_started_anew_knows_what_the_last_one_knew(world: World, tmp_path: Path) -> None:
    await world.publish_and_serve(1, "w1")
    drained = await world.registry.register_worker(worker("w2"), SIGNATURE)
    await world.registry.drain_worker("w2")
    _, key = await world.registry.create_key("ci", ["admin"])
    before, revision = world.registry.model("digits"), world.registry.hub.revision
    async with stored(tmp_path / "registry.db") as store:
        again = await opened(store, wall=world.wall, monotonic=world.monotonic)
        assert again.model("digits") == before
        assert again.hub.revision > revision
        assert again.keyring.list() == [key]
        assert await again.renew_lease("w2", drained.epoch, LoadReport(), False)  # still to drain
        fresh = await again.register_worker(worker("w3"), None)
        assert fresh.epoch > drained.epoch


async def test_figures_of_a_renewal_are_shown(world: World) -> None:
    await world.registry.publish(draft(), "ann")
    registered = await world.registry.register_worker(worker(), None)
    report = LoadReport(1, 2, 3, 4)
    await world.registry.renew_lease("w1", registered.epoch, report, False)
    assert replace(registered, report=report) in world.registry.hub.snapshot().records
