"""Lazy models: what wakes a version, what keeps it awake, and what puts it to sleep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.errors import InvalidArgument
from penstock.registry import placement
from penstock.registry.budget import Budget
from penstock.registry.demand import PATIENCE_S, Demand, Use
from penstock.registry.registry import opened
from penstock.registry.serving_policy import IDLE_S
from penstock.registry.state import LoadReport, ServingPolicy, State

from .conftest import Clock, World, draft, stored, worker
from .test_rules import model, move
from .test_serving_policy import PINNED, policy

KEY = ("digits", 1)
LAZY = ServingPolicy(lazy=True)


def test_a_version_wakes_when_it_is_waited_for_and_a_late_report_does_not_wake_it() -> None:
    demand = Demand()
    demand.used(KEY, 5.0)
    assert demand.ages("digits", 6.0) == {}
    demand.asked(KEY, 10.0)
    assert demand.ages("digits", 11.0) == {1: -1.0}  # they wait
    demand.asked(KEY, 12.0)
    assert demand.ages("digits", 13.0) == {1: -3.0}
    demand.wake(KEY, 10.0)
    assert demand.ages("digits", 14.0) == {1: 4.0}
    demand.used(KEY, 12.0)
    demand.used(KEY, 11.0)  # of another gateway
    assert demand.ages("digits", 14.0) == {1: 2.0}
    demand.sleep(KEY)
    demand.used(KEY, 15.0)
    assert demand.ages("digits", 16.0) == {}


def test_whether_it_is_waited_for_is_known_for_a_few_seconds() -> None:
    demand = Demand()
    demand.asked(KEY, 10.0)
    assert demand.is_waited_for(KEY, 10.0 + PATIENCE_S - 0.1)
    assert not demand.is_waited_for(KEY, 10.0 + PATIENCE_S)
    demand.asked(KEY, 20.0)
    demand.sleep(KEY)
    assert not demand.is_waited_for(KEY, 20.0)


@pytest.mark.parametrize(
    ("fields", "ages", "expected"),
    [
        ({}, {}, set()),
        ({}, {1: 3.0}, {1}),
        ({}, {1: IDLE_S - 1, 3: IDLE_S}, {1}),
        ({"idle_s": 5.0}, {1: 4.9, 3: 5.0}, {1}),
        ({}, {2: 3.0}, set()),  # neither an alias nor the policy names it
        ({"versions": PINNED}, {1: 1.0, 2: 1.0, 3: 1.0}, {1, 3}),
    ],
)
def test_of_a_lazy_model_what_is_awake_and_named_is_loaded(
    fields: dict[str, object], ages: dict[int, float], expected: set[int]
) -> None:
    lazy = policy(model(1, 2, 3), lazy=True, **fields)
    assert placement.wishes(lazy, 100.0, ages=ages).keys() == expected
    assert placement.wishes(placement.deploy(lazy, 2, 0, ""), 100.0, ages=ages).keys() == expected | {2}
    assert placement.wishes(placement.undeploy(lazy, 0), 100.0, ages=ages) == {}


def test_what_is_loaded_on_demand() -> None:
    assert placement.on_demand(model(1, 2, 3)) == set()
    lazy = policy(move(model(1, 2, 3), "canary", 2), lazy=True)
    assert placement.on_demand(lazy) == {1, 2, 3}
    assert placement.on_demand(placement.deploy(lazy, 2, 0, "")) == {1, 3}


def test_the_next_change_is_when_the_first_one_falls_asleep() -> None:
    lazy = policy(model(1), lazy=True, idle_s=10.0)
    assert placement.next_change(lazy, 100.0, ages={1: 4.0, 2: 7.0}) == 103.0
    assert placement.next_change(lazy, 100.0) is None


# In a registry: workers of 1 GB each, and room for two.


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    wall, monotonic = Clock(), Clock(0.0)
    async with stored(tmp_path / "registry.db") as store:
        registry = await opened(store, budget=Budget(memory=2 * 10**9), wall=wall, monotonic=monotonic)
        yield World(registry, store, wall, monotonic)


def seen(world: World, name: str) -> tuple[int, str]:
    [view] = world.registry.model(name).versions
    assert view.on_demand
    return view.desired_instances, view.state.name


async def published(world: World, *names: str) -> None:
    for name in names:
        await world.registry.publish(draft(name, serving=LAZY), "ann")


async def serve(world: World, name: str) -> None:
    await world.registry.register_worker(worker(name, name, report=LoadReport(memory=10**9)), None)


def ask(world: World, name: str) -> None:
    world.registry.use([Use((name, 1), 0.0, waiting=True)])


def use(world: World, name: str, ago: float = 0.0) -> None:
    world.registry.use([Use((name, 1), ago, waiting=False)])


async def passes(world: World, seconds: float) -> None:
    for _ in range(round(seconds)):
        world.wall.now += 1.0
        world.monotonic.now += 1.0
        world.registry.fleet.prolong(1.0)
        await world.registry.tick()


async def test_a_lazy_model_sleeps_wakes_and_falls_asleep(world: World) -> None:
    await published(world, "a")
    assert seen(world, "a") == (0, "END")
    use(world, "a")
    assert seen(world, "a") == (0, "END")
    ask(world, "a")
    assert seen(world, "a") == (1, "START")
    await serve(world, "a")
    await passes(world, IDLE_S - 10)
    use(world, "a", ago=5.0)
    await passes(world, IDLE_S - 6)
    assert seen(world, "a") == (1, "AVAILABLE")
    await passes(world, 1)
    assert seen(world, "a") == (0, "UNLOADING")
    use(world, "a")  # a report that comes late
    await world.registry.revoke_lease("a")
    assert seen(world, "a") == (0, "END")
    ask(world, "a")
    assert seen(world, "a") == (1, "START")


async def test_the_least_recently_used_one_gives_way_and_is_gone_before_the_other_begins(world: World) -> None:
    await published(world, "a", "b", "c")
    for name in ("a", "b"):
        ask(world, name)
        await serve(world, name)
    await passes(world, 5)
    use(world, "a")
    ask(world, "c")
    assert [seen(world, name) for name in "abc"] == [(1, "AVAILABLE"), (0, "UNLOADING"), (0, "START")]
    await world.registry.revoke_lease("b")
    assert [seen(world, name) for name in "abc"] == [(1, "AVAILABLE"), (0, "END"), (1, "START")]


async def test_who_has_waited_longest_is_loaded_first_however_busy_the_others_are(world: World) -> None:
    await published(world, "a", "b", "c")
    for name in ("a", "b"):
        ask(world, name)
        await serve(world, name)
    await passes(world, 5)
    use(world, "a")
    ask(world, "c")
    assert [seen(world, name)[0] for name in "abc"] == [1, 0, 0]
    await passes(world, 1)
    ask(world, "c")
    ask(world, "b")  # what has just given way for it, and is not gone yet
    use(world, "a")
    assert [seen(world, name)[0] for name in "abc"] == [0, 1, 0]
    await world.registry.revoke_lease("b")
    await world.registry.revoke_lease("a")
    ask(world, "a")
    assert [seen(world, name)[0] for name in "abc"] == [0, 1, 1]


async def test_what_is_pinned_or_not_lazy_never_gives_way_and_who_finds_no_room_stops_asking(world: World) -> None:
    await published(world, "a", "c")
    await world.registry.publish(draft("b"), "ann")
    await world.registry.deploy("a", 1, 0, "")
    for name in ("a", "b"):
        await serve(world, name)
    ask(world, "c")
    assert seen(world, "c") == (0, "START")
    assert world.registry.model("c").versions[0].waits
    await passes(world, PATIENCE_S)
    assert seen(world, "c") == (0, "END")
    assert [world.registry.model(name).versions[0].desired_instances for name in "ab"] == [1, 1]


async def test_a_load_that_has_begun_is_not_given_up_for_another(world: World) -> None:
    await published(world, "a", "b", "c")
    for name in "ab":
        ask(world, name)
        await serve(world, name)
    await world.registry.revoke_lease("a")  # its process has died: another one starts
    await passes(world, 2)
    use(world, "b", ago=1.0)
    ask(world, "c")
    assert [seen(world, name)[0] for name in "abc"] == [1, 0, 0]


async def test_a_model_that_becomes_lazy_is_not_unloaded_at_once(world: World) -> None:
    await world.registry.publish(draft("a"), "ann")
    await serve(world, "a")
    await passes(world, 1000)
    await world.registry.set_policy("a", ServingPolicy(lazy=True, idle_s=20.0), ["lazy", "idle"])
    assert seen(world, "a") == (1, "AVAILABLE")
    await passes(world, 20)
    assert seen(world, "a") == (0, "UNLOADING")


async def test_a_load_that_takes_longer_than_that_is_not_idle(world: World) -> None:
    await published(world, "a")
    await world.registry.set_policy("a", ServingPolicy(lazy=True, idle_s=20.0), ["lazy", "idle"])
    ask(world, "a")
    world.registry.report_load(worker("a", "a", state=State.LOADING))
    await passes(world, 100)
    assert seen(world, "a") == (1, "LOADING")
    await serve(world, "a")
    await passes(world, 19)
    assert seen(world, "a") == (1, "AVAILABLE")
    await passes(world, 1)
    assert seen(world, "a") == (0, "UNLOADING")


async def test_after_a_restart_what_is_loaded_has_its_time_to_be_used(world: World, tmp_path: Path) -> None:
    await published(world, "a")
    ask(world, "a")
    await serve(world, "a")
    async with stored(tmp_path / "registry.db") as store:
        again = await opened(store, wall=world.wall, monotonic=world.monotonic)
        assert again.model("a").versions[0].desired_instances == 1


async def test_uses_of_what_is_not_there_or_not_lazy_are_passed_over(world: World) -> None:
    await world.registry.publish(draft("b"), "ann")
    ask(world, "nothere")
    ask(world, "b")
    await world.registry.undeploy("b", 0)
    ask(world, "b")
    assert world.registry.model("b").versions[0].desired_instances == 0


async def test_a_bad_policy_for_a_new_model_is_refused_before_its_bytes_come(world: World) -> None:
    with pytest.raises(InvalidArgument, match=r"policy\.idle"):
        world.registry.published(draft("a", serving=ServingPolicy(lazy=True, idle_s=-1.0)))


async def test_an_existing_model_keeps_its_policy(world: World) -> None:
    await published(world, "a")
    await world.registry.publish(draft("a", 2, b"2"), "ann")
    assert world.registry.model("a").settings.serving == LAZY
