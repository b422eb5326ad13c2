from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .fakes import KEY, Farm, endpoint, now


async def test_nothing_is_picked_before_a_subchannel_is_ready() -> None:
    farm = Farm()
    farm.balancer.update([endpoint("a")])
    assert farm.pick() is None
    farm["a"].set_ready()
    assert farm.pick() is farm["a"]


async def test_what_is_no_longer_ready_is_no_longer_picked() -> None:
    farm = Farm()
    farm.start("a", "b")
    assert farm.picks() == {"a", "b"}
    farm["a"].set_ready(False)
    assert farm.picks() == {"b"}


async def test_draining_workers_are_picked_only_if_there_is_nothing_else() -> None:
    farm = Farm()
    farm.start("a", "b")
    farm.balancer.update([endpoint("a", draining=True), endpoint("b")])
    assert farm.picks() == {"b"}
    assert farm.balancer.ready(KEY) == 1
    farm["b"].set_ready(False)
    assert farm.picks() == {"a"}
    assert farm.balancer.ready(KEY) == 0


async def test_an_update_keeps_what_is_unchanged() -> None:
    farm = Farm()
    farm.start("a")
    farm.balancer.update([endpoint("a"), endpoint("b")])
    farm.balancer.update([endpoint("a", draining=True), endpoint("b")])
    assert [s.endpoint.worker_id for s in farm.made] == ["a", "b"]
    assert not farm["a"].closed


@pytest.mark.parametrize("change", [{"epoch": 2}, {"address": "unix:/elsewhere"}])
async def test_a_worker_that_registered_anew_is_a_new_subchannel(change: dict[str, object]) -> None:
    farm = Farm()
    farm.start("a")
    farm.balancer.update([endpoint("a", **change)])  # type: ignore[arg-type]
    await asyncio.sleep(0)
    old, new = farm.made
    assert old.closed
    assert farm.pick() is None
    new.set_ready()
    assert farm.pick() is new


async def test_a_worker_that_is_gone_is_closed() -> None:
    farm = Farm()
    farm.start("a", "b")
    farm.balancer.update([endpoint("b")])
    await asyncio.sleep(0)
    assert farm["a"].closed
    assert farm.picks() == {"b"}


async def test_versions_do_not_mix() -> None:
    farm = Farm()
    farm.balancer.update([endpoint("a"), endpoint("b", version=2)])
    farm["a"].set_ready()
    farm["b"].set_ready()
    assert farm.picks() == {"a"}
    assert farm.pick(("digits", 2)) is farm["b"]


async def test_a_wait_ends_when_a_subchannel_gets_ready() -> None:
    farm = Farm()
    farm.balancer.update([endpoint("a")])
    asyncio.get_running_loop().call_later(0.3, farm["a"].set_ready)
    found: Any = await farm.balancer.wait(KEY, 1.0)
    assert found is farm["a"]
    assert now() == pytest.approx(0.3)


async def test_a_wait_is_not_ended_by_other_versions() -> None:
    farm = Farm()
    farm.balancer.update([endpoint("a", version=2)])
    asyncio.get_running_loop().call_later(0.3, farm["a"].set_ready)
    assert await farm.balancer.wait(KEY, 1.0) is None
    assert now() == pytest.approx(1.0)


async def test_all_who_wait_are_woken() -> None:
    farm = Farm()
    farm.balancer.update([endpoint("a")])
    asyncio.get_running_loop().call_later(0.3, farm["a"].set_ready)
    found: list[Any] = await asyncio.gather(*(farm.balancer.wait(KEY, 1.0) for _ in range(50)))
    assert set(found) == {farm["a"]}


async def test_a_change_wakes_those_who_follow() -> None:
    farm = Farm()
    farm.balancer.update([endpoint("a")])
    following = asyncio.create_task(farm.balancer.changed())
    await asyncio.sleep(0)
    farm["a"].set_ready()
    await following


async def test_closing_closes_all_and_nothing_is_picked() -> None:
    farm = Farm()
    farm.start("a", "b")
    await farm.balancer.close()
    assert all(s.closed for s in farm.made)
    assert farm.pick() is None
