"""A registry with a bound on memory: workers of 1 GB each, and room for two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.errors import MemoryBudgetExceeded
from penstock.registry.budget import Budget
from penstock.registry.registry import opened
from penstock.registry.state import LoadFailure, LoadReport, ServingPolicy, State

from .conftest import Clock, World, draft, stored, worker

GB = 10**9
PRESERVING = ServingPolicy(resource_preserving=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    wall, monotonic = Clock(), Clock(0.0)
    async with stored(tmp_path / "registry.db") as store:
        registry = await opened(store, budget=Budget(memory=2 * GB), wall=wall, monotonic=monotonic)
        yield World(registry, store, wall, monotonic)


def seen(world: World, name: str = "digits") -> dict[int, tuple[int, str]]:
    """By version: the desired instances and the state."""
    return {v.version.number: (v.desired_instances, v.state.name) for v in world.registry.model(name).versions}


async def serve(world: World, number: int, name: str = "digits") -> None:
    ready = worker(f"{name}-{number}", name, number, report=LoadReport(memory=GB))
    await world.registry.register_worker(ready, None)


async def published(world: World, *numbers: int, name: str = "digits") -> None:
    for number in numbers:
        await world.registry.publish(draft(name, number, b"%d" % number), "ann")
        await serve(world, number, name)


async def test_a_version_for_which_there_is_no_room_is_refused_before_its_bytes_come_and_when_they_are_there(
    world: World,
) -> None:
    await published(world, 1, 2)
    await world.registry.set_alias("digits", "canary", 2, None, "ann")
    with pytest.raises(MemoryBudgetExceeded, match=r"would need 3\.0 GB, and memory_budget is 2\.0 GB"):
        world.registry.published(draft(version=3))
    with pytest.raises(MemoryBudgetExceeded):
        await world.registry.publish(draft(version=3), "ann")
    assert seen(world) == {1: (1, "AVAILABLE"), 2: (1, "AVAILABLE")}
    with pytest.raises(MemoryBudgetExceeded):
        await world.registry.deploy("digits", 2, 2, "")
    assert world.registry.published(draft(version=2, content=b"2")) is not None  # it is there already


async def test_what_is_only_warm_is_unloaded_before_another_takes_its_place(world: World) -> None:
    await published(world, 1, 2)
    await world.registry.set_alias("digits", "stable", 2, None, "ann")
    assert seen(world) == {1: (1, "AVAILABLE"), 2: (1, "AVAILABLE")}
    await world.registry.publish(draft(version=3), "ann")
    assert seen(world) == {1: (0, "UNLOADING"), 2: (1, "AVAILABLE"), 3: (0, "START")}
    assert world.registry.model("digits").versions[2].waits == "it waits until digits:1 is unloaded"
    await world.registry.revoke_lease("digits-1")
    assert seen(world) == {1: (0, "START"), 2: (1, "AVAILABLE"), 3: (1, "START")}
    assert world.registry.model("digits").versions[0].waits


async def test_a_resource_preserving_model_loads_the_new_version_when_the_old_one_is_gone(world: World) -> None:
    registry = world.registry
    await published(world, 1, name="other")
    await published(world, 1)
    with pytest.raises(MemoryBudgetExceeded):
        registry.published(draft(version=2))
    await registry.set_policy("digits", PRESERVING, ["resource_preserving"])
    await registry.publish(draft(version=2), "ann")
    assert seen(world) == {1: (1, "AVAILABLE"), 2: (0, "START")}  # publishing changes nothing for callers
    await registry.deploy("digits", 2, 0, "")
    assert seen(world) == {1: (0, "UNLOADING"), 2: (0, "START")}
    await registry.revoke_lease("digits-1")
    assert seen(world) == {1: (0, "START"), 2: (1, "START")}
    await serve(world, 2)
    await registry.set_alias("digits", "stable", 2, None, "ann")
    assert seen(world) == {1: (0, "START"), 2: (1, "AVAILABLE")}  # 1 would be kept warm, were there room
    assert seen(world, "other") == {1: (1, "AVAILABLE")}
    world.wall.now += 300.0
    await registry.tick()
    assert seen(world) == {1: (0, "END"), 2: (1, "AVAILABLE")}


async def test_a_version_that_fails_in_the_place_of_the_old_one_gives_it_back_until_it_is_deployed_again(
    world: World,
) -> None:
    registry = world.registry
    await published(world, 1, name="other")
    await published(world, 1)
    await registry.set_policy("digits", PRESERVING, ["resource_preserving"])
    await registry.publish(draft(version=2), "ann")
    await registry.deploy("digits", 2, 0, "")
    await registry.revoke_lease("digits-1")
    assert seen(world) == {1: (0, "START"), 2: (1, "START")}
    registry.report_load(worker("digits-2", version=2, state=State.END), LoadFailure("no such file", 1, 77.0))
    assert seen(world) == {1: (1, "START"), 2: (0, "END")}
    failed = registry.model("digits").versions[1]
    assert failed.load_error == "no such file"
    assert failed.last_failure == LoadFailure("no such file", 1)  # there is no next one
    await serve(world, 1)
    await registry.tick()
    assert seen(world) == {1: (1, "AVAILABLE"), 2: (0, "END")}
    await registry.deploy("digits", 2, 0, "")
    assert seen(world) == {1: (0, "UNLOADING"), 2: (0, "START")}


async def test_what_answers_is_not_taken_back_because_it_has_grown(world: World) -> None:
    registry = world.registry
    await published(world, 1)
    await registry.set_policy("digits", PRESERVING, ["resource_preserving"])
    await published(world, 2)
    await registry.set_alias("digits", "canary", 2, None, "ann")
    for number in (1, 2):
        await registry.renew_lease(f"digits-{number}", number, LoadReport(memory=3 * GB // 2), False)
    await registry.tick()
    assert seen(world) == {1: (1, "AVAILABLE"), 2: (1, "AVAILABLE")}
    await registry.publish(draft(version=3), "ann")
    assert seen(world) == {1: (1, "AVAILABLE"), 2: (1, "AVAILABLE"), 3: (0, "START")}
    await registry.deploy("digits", 3, 0, "")  # but it makes way for what goes before it
    assert seen(world) == {1: (0, "UNLOADING"), 2: (0, "UNLOADING"), 3: (0, "START")}


async def test_what_was_never_loaded_is_taken_to_need_as_much_as_the_smallest_worker(world: World) -> None:
    await published(world, 1, 2)
    await world.registry.set_alias("digits", "canary", 2, None, "ann")
    with pytest.raises(MemoryBudgetExceeded, match=r"would need 3\.0 GB"):
        await world.registry.publish(draft("other"), "ann")


async def test_followers_hear_of_other_models_that_give_way(world: World) -> None:
    await published(world, 1, 2)
    await world.registry.set_alias("digits", "stable", 2, None, "ann")
    with world.registry.hub.watch() as watcher:
        await watcher.next()
        await world.registry.publish(draft("other"), "ann")
        told = {view.name for view in (await watcher.next()).records if hasattr(view, "versions")}
    assert told == {"digits", "other"}


async def test_what_a_version_takes_is_remembered_when_its_workers_are_gone(world: World, tmp_path: Path) -> None:
    await published(world, 1)
    await world.registry.undeploy("digits", 0)
    await world.registry.revoke_lease("digits-1")
    assert world.registry.model("digits").versions[0].memory == GB
    async with stored(tmp_path / "registry.db") as store:
        again = await opened(store, budget=Budget(memory=GB // 2))
        with pytest.raises(MemoryBudgetExceeded):
            await again.deploy("digits", 0, 0, "")


async def test_a_failed_load_is_told_with_its_tries_while_the_old_version_goes_on(world: World) -> None:
    await published(world, 1)
    await world.registry.publish(draft(version=2), "ann")
    failing = worker("digits-2", version=2, state=State.END)
    world.registry.report_load(failing, LoadFailure("no such file"))
    world.registry.report_load(failing, LoadFailure("", 1, 77.0))
    assert seen(world) == {1: (1, "AVAILABLE"), 2: (1, "END")}
    assert world.registry.model("digits").versions[1].last_failure == LoadFailure("no such file", 1, 77.0)


async def test_each_deployment_and_each_start_is_a_new_one_for_whoever_gave_the_version_up(
    world: World, tmp_path: Path
) -> None:
    await published(world, 1)
    numbers = [world.registry.model("digits").versions[0].deployment]
    for number in (1, 0, 1):
        [view] = (await world.registry.deploy("digits", number, 0, "")).versions
        numbers.append(view.deployment)
    async with stored(tmp_path / "registry.db") as store:
        numbers.append((await opened(store)).model("digits").versions[0].deployment)
    assert numbers == sorted(set(numbers))
