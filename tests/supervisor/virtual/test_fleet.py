from __future__ import annotations

import asyncio

import pytest

from penstock.supervisor.plan import Want
from penstock.supervisor.registry_follower import Failure

from .fakes import FakeChild, World, now, running

CRASH = -9
LOAD_FAILED = 3


def want(instances: int = 1, version: int = 1, name: str = "digits", deployment: int = 0) -> Want:
    return Want(name, version, instances, "auto", deployment)


async def crash_ready(child: FakeChild) -> None:
    child.say_ready()
    await asyncio.sleep(0)
    await crash(child)


async def crash(child: FakeChild, status: int = CRASH) -> None:
    child.end(status)
    await asyncio.sleep(0.001)


async def starts(world: World, count: int, status: int = CRASH) -> list[float]:
    """Let every new child end at once (crash: once it is ready); how long each waited after the one before it."""
    waits: list[float] = []
    for _ in range(count):
        ended = now()
        world.made.clear()
        if status == CRASH:
            world.children[-1].say_ready()
            await asyncio.sleep(0)
        world.children[-1].end(status)
        await world.made.wait()
        await asyncio.sleep(0.001)
        waits.append(round(world.children[-1].begun - ended, 1))
    return waits


async def test_what_is_wanted_is_started_and_told_what_it_is() -> None:
    async with running() as world:
        await world.want(want(2))
        assert [child.told["index"] for child in world.workers] == [0, 1]
        told = world.workers[0].told
        assert (told["name"], told["version"], told["device"], told["threads"]) == ("digits", 1, "auto", 3)
        assert told["registry"] == "127.0.0.1:8010"
        assert told["cache_dir"] == "/data/cache"
        assert told["listen"].startswith("unix:/run/")
        assert told["worker_id"].startswith("digits-1-")
        assert len({child.told["worker_id"] for child in world.workers}) == 2


async def test_nothing_is_started_before_the_registry_was_heard() -> None:
    async with running() as world:
        world.follower.known = False
        await world.want(want())
        assert world.children == []
        world.follower.known = True
        await world.want(want())
        assert len(world.workers) == 1


async def test_what_is_no_longer_wanted_is_stopped_and_its_lease_revoked() -> None:
    async with running() as world:
        await world.want(want(2))
        first, second = world.workers
        await world.want(want(1))
        await asyncio.sleep(2.0)
        assert world.living == [first]
        assert world.follower.revoked == [second.told["worker_id"]]
        assert world.follower.failures == []
        assert len(world.children) == 2


async def test_a_worker_that_leaves_is_replaced_at_once_and_not_stopped() -> None:
    async with running() as world:
        await world.want(want())
        [old] = world.workers
        world.follower.leave(old.told["worker_id"])
        await asyncio.sleep(0.01)
        assert len(world.workers) == 2
        assert old.asked == []
        await crash(old, 0)
        assert len(world.workers) == 1
        assert len(world.children) == 2


async def test_a_worker_that_ended_by_itself_is_replaced_at_once_even_if_the_registry_is_slow() -> None:
    async with running() as world:
        world.follower.slowness = 2.0
        await world.want(want())
        ended = now()
        await crash_ready(world.workers[0])
        assert [round(child.begun - ended, 2) for child in world.workers] == [0.0]


async def test_the_waits_between_crashes_grow_and_the_fifth_is_the_last() -> None:
    async with running() as world:
        await world.want(want())
        assert await starts(world, 4) == [0.0, 0.5, 1.0, 2.0]
        await crash_ready(world.workers[0])
        await asyncio.sleep(600.0)
        assert world.workers == []
        text = "its worker was ended by signal 9, and so did 4 before it"
        assert world.follower.failures == [("digits", 1, Failure(text, 5, None))]


async def test_a_model_that_does_not_load_waits_longer_and_has_said_why_itself() -> None:
    async with running() as world:
        await world.want(want())
        assert await starts(world, 4, LOAD_FAILED) == [1.0, 4.0, 16.0, 60.0]
        await crash(world.workers[0], LOAD_FAILED)
        await asyncio.sleep(600.0)
        assert world.workers == []
        failures = [failure for _, _, failure in world.follower.failures]
        assert failures == [Failure("", n + 1, wait) for n, wait in enumerate([1.0, 4.0, 16.0, 60.0, None])]


async def test_a_worker_that_dies_while_loading_cannot_say_so_itself() -> None:
    async with running() as world:
        await world.want(want())
        await crash(world.workers[0])
        failure = Failure("its worker was ended by signal 9 while loading", 1, 1.0)
        assert world.follower.failures == [("digits", 1, failure)]


async def test_a_worker_that_dies_after_it_was_ready_is_no_failed_load() -> None:
    async with running() as world:
        await world.want(want())
        world.workers[0].say_ready()
        await asyncio.sleep(1.0)
        await crash(world.workers[0])
        assert world.follower.failures == []


async def test_a_broken_version_that_is_wanted_anew_starts_anew() -> None:
    async with running() as world:
        await world.want(want())
        await starts(world, 4)
        await crash_ready(world.workers[0])
        await world.want(want(2))
        assert world.workers == []
        await world.want()
        await world.want(want())
        assert len(world.workers) == 1
        assert (await starts(world, 2)) == [0.0, 0.5]


async def test_a_broken_version_that_is_deployed_again_starts_anew_and_one_that_works_is_left_alone() -> None:
    async with running() as world:
        await world.want(want(), want(name="other"))
        await starts(world, 4, LOAD_FAILED)
        await crash(world.children[-1], LOAD_FAILED)
        [good] = world.workers
        await world.want(want(deployment=7), want(name="other", deployment=7))
        assert len(world.workers) == 2
        assert good in world.workers
        assert (await starts(world, 2, LOAD_FAILED)) == [1.0, 4.0]


async def test_one_version_that_crashes_does_not_hold_up_another() -> None:
    async with running() as world:
        await world.want(want())
        await starts(world, 3)
        await crash_ready(world.workers[0])
        await world.want(want(), want(name="other"))
        assert [child.told["name"] for child in world.workers] == ["other"]


async def test_the_other_instances_of_a_crashing_version_go_on() -> None:
    async with running() as world:
        await world.want(want(2))
        good, bad = world.workers
        await crash_ready(bad)
        await starts(world, 3)
        await crash_ready(world.children[-1])
        await asyncio.sleep(100.0)
        assert world.workers == [good]
        assert good.asked == []


async def test_a_broken_version_is_not_started_for_a_worker_that_leaves() -> None:
    async with running() as world:
        await world.want(want(2))
        good, _ = world.workers
        await starts(world, 4)
        await crash_ready(world.children[-1])
        world.follower.leave(good.told["worker_id"])
        await asyncio.sleep(10.0)
        assert world.workers == [good]


async def test_a_spare_is_ready_before_anything_is_wanted_and_is_used_first() -> None:
    async with running(spare=True, start_s=1.0) as world:
        await asyncio.sleep(5.0)
        [spare] = world.children
        await world.want(want())
        assert world.workers == [spare]
        assert len(world.children) == 1
        spare.say_ready()
        await asyncio.sleep(2.0)
        assert len(world.living) == 2


async def test_there_is_one_spare_however_many_workers_become_ready() -> None:
    async with running(spare=True, start_s=1.0) as world:
        await asyncio.sleep(5.0)
        await world.want(want(3))
        await asyncio.sleep(5.0)
        for child in world.workers:
            child.say_ready()
        await asyncio.sleep(5.0)
        assert len(world.living) == 4
        assert len(world.children) == 4


async def test_a_spare_that_has_died_is_not_used() -> None:
    async with running(spare=True) as world:
        await asyncio.sleep(1.0)
        await crash(world.children[0])
        await world.want(want())
        assert len(world.workers) == 1


@pytest.mark.parametrize("before_stop", [0.0, 0.5, 1.5])
async def test_no_spare_outlives_a_stop(before_stop: float) -> None:
    async with running(spare=True, start_s=1.0) as world:
        await asyncio.sleep(5.0)
        await world.want(want(2))
        await asyncio.sleep(before_stop)
    assert world.living == []


async def test_a_stop_drains_all_workers_at_once() -> None:
    async with running(drain=4.0) as world:
        await world.want(want(3))
        began = now()
    assert round(now() - began, 2) == 4.0
    assert len(world.follower.revoked) == 3
    assert world.follower.failures == []


async def test_who_is_hurried_gives_up_what_it_holds() -> None:
    async with running() as world:
        await world.want(want(2))
        world.fleet.hurry()
        assert [len(child.asked) for child in world.workers] == [1, 1]
