"""Requests for a version that is loaded when it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock import errors
from penstock.gateway.generation import Generation
from penstock.gateway.hopes import MAX_FOR_LOAD, TO_SAY_SO
from penstock.gateway.refusals import Key
from penstock.gateway.use_reporter import UseReporter
from penstock.gateway.uses import INTERVAL
from penstock.v1 import registry_pb2 as pb

from ..test_uses import Lane
from .fakes import AVAILABLE, END, KEY, LOADING, REQUEST, Farm, call, directory, endpoint, model, now
from .test_lane import submitted


def lazy(state: int = END, error: str = "", desired: int = 0) -> pb.ModelRecord:
    made = model(states=(state,))
    [version] = made.versions
    version.on_demand, version.load_error, version.desired_instances = True, error, desired
    return made


def farm() -> Farm:
    made = Farm("late_binding", directory(lazy()))
    made.balancer.update([])
    made.directory.listen(lambda _changed: made.balancer.update(made.directory.endpoints()))
    return made


def told(farm: Farm, record: pb.ModelRecord) -> None:
    farm.directory.apply(pb.WatchResponse(models=[record]))


async def test_a_request_waits_for_the_load_that_it_brings_about() -> None:
    world = farm()
    question = submitted(world.balancer.lane(KEY), timeout=20.0)
    assert world.asked_for == [KEY]
    told(world, lazy(LOADING, desired=1))
    await asyncio.sleep(12.0)
    told(world, lazy(AVAILABLE, desired=1))
    world.balancer.update([endpoint("a")])
    world["a"].set_ready()
    await asyncio.sleep(0.1)
    assert (question.answer, round(question.at, 1)) == (b"a", 12.0)


async def test_who_has_too_little_time_is_told_shortly_before_it_is_over() -> None:
    world = farm()
    question = submitted(world.balancer.lane(KEY), timeout=5.0)
    await asyncio.sleep(6.0)
    assert isinstance(question.error, errors.ModelLoading)
    assert question.error.retry_after == 1.0
    assert question.at == pytest.approx(5.0 - TO_SAY_SO)


async def test_no_more_wait_than_leaves_room_for_other_models_and_who_has_gone_is_forgotten() -> None:
    world = farm()
    lane = world.balancer.lane(KEY)
    questions = [submitted(lane, timeout=20.0) for _ in range(MAX_FOR_LOAD)]
    with pytest.raises(errors.QueueFull):
        submitted(lane, timeout=20.0)
    for question in questions:
        question.abandon()
    assert lane.waiting == 0
    assert len(lane._hopes._heap) < 10


async def test_when_the_load_fails_all_that_wait_are_told_at_once() -> None:
    world = farm()
    questions = [submitted(world.balancer.lane(KEY), timeout=20.0) for _ in range(3)]
    told(world, lazy(LOADING, desired=1))
    await asyncio.sleep(2.0)
    told(world, lazy(END, "boom", desired=1))
    await asyncio.sleep(0.01)
    assert [type(question.error) for question in questions] == [errors.ModelLoadFailed] * 3
    assert world.balancer.lane(KEY).waiting == 0


async def test_a_version_that_is_not_loaded_on_demand_is_not_waited_for_so_long() -> None:
    world = Farm("late_binding", directory(model(states=(LOADING,))))
    world.balancer.update([])
    question = submitted(world.balancer.lane(KEY), timeout=20.0)
    await asyncio.sleep(2.0)
    assert round(question.at, 1) == 1.0
    assert world.asked_for == []


async def test_requests_whose_worker_has_gone_ask_for_another() -> None:
    world = farm()
    told(world, lazy(AVAILABLE, desired=1))
    [worker] = world.start("a")
    worker.forecast.credit = 0
    question = submitted(world.balancer.lane(KEY), timeout=20.0)
    assert world.asked_for == []
    worker.set_ready(False)
    world.balancer.update([])
    assert set(world.asked_for) == {KEY}
    world.start("b")
    await asyncio.sleep(0.1)
    assert question.answer == b"b"


async def test_a_worker_that_will_end_is_none_to_wait_for() -> None:
    world = farm()
    told(world, lazy(AVAILABLE, desired=1))
    [worker] = world.start("a")
    worker.forecast.credit = 0
    lane = world.balancer.lane(KEY)
    submitted(lane, timeout=20.0)
    assert (lane.waiting, lane.needs_worker) == (1, False)
    world.balancer.update([endpoint("a", draining=True)])
    assert (lane.is_stranded, lane.needs_worker) == (False, True)


async def test_what_a_worker_refuses_because_it_ends_waits_for_the_next_one() -> None:
    world = farm()
    told(world, lazy(AVAILABLE, desired=1))
    [worker] = world.start("a")
    worker.plan = [(0.1, errors.WorkerDraining("it ends"))]
    question = submitted(world.balancer.lane(KEY), timeout=20.0)
    worker.refuse()
    await asyncio.sleep(3.0)
    assert len(worker.asked) == 1
    world.start("b")
    await asyncio.sleep(0.1)
    assert question.answer == b"b"


async def test_a_generator_is_waited_for_and_asked_for_each_second() -> None:
    world = farm()

    async def answers() -> list[bytes]:
        admission: Any = _Admission()

        def route(*_asked: object) -> Key:
            return KEY

        serving = Generation(route, world.directory, world.balancer, admission, 60.0, world.traffic())
        return [answer async for answer in serving.serve(REQUEST, call(timeout=20.0))]

    asking = asyncio.create_task(answers())
    await asyncio.sleep(2.5)
    assert world.asked_for == [KEY] * 3
    world.start("a")
    assert await asking == [b"a/0"]


class _Admission:
    def admit(self, size: int) -> None: ...

    def leave(self, size: int) -> None: ...


# The reports.


class Registry:
    """Hears reports, perhaps late or not at all."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, list[tuple[str, bool]]]] = []
        self.slowness = 0.0

    async def report(self, request: pb.ReportUseRequest) -> None:
        self.heard.append((round(now(), 2), [(use.name, use.waiting) for use in request.uses]))
        await asyncio.sleep(self.slowness)


async def reported(
    seconds: float, lanes: list[Lane], act: Callable[[UseReporter], Awaitable[None]], slowness: float = 0.0
) -> Registry:
    registry = Registry()
    registry.slowness = slowness
    reporter = UseReporter(registry.report, lambda: lanes)
    task = asyncio.create_task(reporter.run())
    await act(reporter)
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return registry


async def test_what_waits_is_reported_at_once_and_uses_once_a_second() -> None:
    async def act(reporter: UseReporter) -> None:
        await asyncio.sleep(0.25)
        reporter.ask_for(("b", 1))
        reporter.ask_for(("b", 1))

    registry = await reported(2.0, [Lane(("a", 1), 0.0)], act)
    assert registry.heard == [(0.25, [("b", True)]), (INTERVAL, [("a", False)])]


async def test_a_slow_registry_is_sent_one_report_at_a_time_with_all_that_came_up_meanwhile() -> None:
    async def act(reporter: UseReporter) -> None:
        for name in "bcde":
            reporter.ask_for((name, 1))
            await asyncio.sleep(0.1)

    registry = await reported(1.0, [], act, slowness=0.6)
    [(_, first), (at, second)] = registry.heard
    assert first == [("b", True)]
    assert (at, {name for name, _ in second}) == (0.6, {"c", "d", "e"})


async def test_without_uses_nothing_is_sent() -> None:
    async def act(reporter: UseReporter) -> None:
        await asyncio.sleep(5.0)

    assert (await reported(0.0, [], act)).heard == []
