"""A lane before workers that do what a test says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock import errors
from penstock.gateway.lane import Lane
from penstock.gateway.question import Pairs, Question

from .fakes import END, KEY, FakeSubchannel, Farm, directory, model, now

LOST = errors.WorkerLost("lost")
FULL = 0.026


class Noted(Question):
    __slots__ = ("answer", "at", "error")
    answer: bytes | None
    error: errors.PenstockError | None
    at: float

    def answered(self, response: bytes, trailers: Pairs) -> None:
        self.answer, self.at = response, now()

    def failed(self, error: errors.PenstockError) -> None:
        self.error, self.at = error, now()


def asking(request: bytes = b"q", timeout: float = 60.0, rows: int = 1, priority: int = 0) -> Noted:
    made = Noted(request, now(), now() + timeout, priority)
    made.rows = rows
    made.answer, made.error = None, None
    return made


def submitted(lane: Lane, *args: Any, **more: Any) -> Noted:
    made = asking(*args, **more)
    lane.submit(made)
    return made


def scene(*worker_ids: str, credit: int = 0) -> tuple[Farm, Lane, list[FakeSubchannel]]:
    """Workers of batches of 16 that take 26 ms, with so much credit each."""
    farm = Farm("late_binding")
    farm.balancer.update([])
    lane = farm.balancer.lane(KEY)
    workers = farm.start(*worker_ids)
    for worker in workers:
        worker.forecast.credit = credit
        worker.forecast.reported(now(), 0.0, 0.011, FULL, 0)
        worker.grant(0)
    return farm, lane, workers


def asked(worker: FakeSubchannel) -> list[bytes]:
    return [question.request for question in worker.asked]


async def test_nothing_is_sent_without_credit_and_all_that_fits_with_it() -> None:
    _, lane, (worker,) = scene("a")
    for number in range(5):
        submitted(lane, str(number).encode())
    assert not worker.asked
    worker.grant(3)
    assert asked(worker) == [b"0", b"1", b"2"]
    assert lane.waiting == 2
    lane.close()


async def test_the_soonest_deadline_goes_first_and_lanes_move_it() -> None:
    _, lane, (worker,) = scene("a")
    submitted(lane, b"late", 3.0)
    submitted(lane, b"soon", 2.0)
    submitted(lane, b"low", 2.0, priority=-1)
    submitted(lane, b"high", 2.2, priority=1)
    worker.grant(9)
    assert asked(worker) == [b"high", b"soon", b"low", b"late"]


async def test_a_request_of_more_rows_than_the_credit_is_sent_and_the_next_one_waits() -> None:
    _, lane, (worker,) = scene("a", credit=2)
    submitted(lane, b"many", rows=40)
    submitted(lane, b"next")
    assert asked(worker) == [b"many"]
    assert worker.forecast.credit == -38
    worker.grant(39)
    assert asked(worker) == [b"many", b"next"]


async def test_what_can_not_be_in_time_is_refused_at_once_and_told_when_to_come_back() -> None:
    _, lane, _ = scene("a")
    for _ in range(64):
        submitted(lane, timeout=10.0)
    with pytest.raises(errors.PredictedLate, match="64 rows wait") as refused:
        lane.submit(_after(0.05))
    assert refused.value.reason == "DEADLINE_UNREACHABLE"
    assert refused.value.retry_after == pytest.approx(5 * FULL - 0.05, abs=0.03)
    assert lane.waiting == 64
    lane.close()


def _after(timeout: float) -> Noted:
    """Little time, but no earlier turn than the others."""
    made = asking(timeout=timeout)
    made.order = now() + 100
    return made


async def test_an_idle_worker_may_prove_that_it_is_faster_than_was_believed() -> None:
    """Else a notion that is far too high would refuse everybody for ever."""
    _, lane, (worker,) = scene("a")
    worker.grant(9)
    worker.forecast.one = worker.forecast.full = 1.0
    hurried = submitted(lane, b"hurried", 0.005)
    assert asked(worker) == [b"hurried"]
    assert hurried.error is None


async def test_what_has_become_late_is_dropped_and_never_sent() -> None:
    _, lane, (worker,) = scene("a")
    first, second = submitted(lane, b"first", 0.05), submitted(lane, b"second", 5.0)
    await asyncio.sleep(0.045)
    worker.grant(9)
    assert asked(worker) == [b"second"]
    assert isinstance(first.error, errors.ExpiredInQueue)
    assert first.error.metadata == {"model": "digits", "version": "1"}
    assert second.error is None


async def test_what_expires_is_told_within_a_second_even_if_no_worker_grants_anything() -> None:
    _, lane, _ = scene("a")
    question = submitted(lane, timeout=0.2)
    await asyncio.sleep(1.5)
    assert isinstance(question.error, errors.ExpiredInQueue)
    assert lane.waiting == 0


async def test_a_deadline_that_has_passed_is_refused() -> None:
    _, lane, _ = scene("a", credit=5)
    with pytest.raises(errors.DeadlineExceeded):
        lane.submit(asking(timeout=0.0))


async def test_no_more_than_the_bound_wait() -> None:
    _, lane, _ = scene("a")
    lane._max_queued = 3
    for _ in range(3):
        submitted(lane)
    with pytest.raises(errors.QueueFull, match="3 requests wait") as refused:
        lane.submit(asking())
    assert refused.value.retry_after == pytest.approx(0.1)
    lane.close()


async def test_who_is_abandoned_leaves_the_queue() -> None:
    _, lane, (worker,) = scene("a")
    question, other = submitted(lane, b"q"), submitted(lane, b"other")
    question.abandon()
    worker.grant(9)
    assert asked(worker) == [b"other"]
    other.abandon()
    assert worker.cancelled == 1


async def test_idle_workers_get_what_comes_at_once_and_the_last_one_lets_a_batch_gather() -> None:
    _, lane, (one, other) = scene("a", "b", credit=32)
    one.plan = other.plan = [10.0] * 20
    submitted(lane, b"0")
    busy, idle = (one, other) if one.asked else (other, one)
    assert asked(busy) == [b"0"]
    await asyncio.sleep(0.001)
    for number in range(3):
        submitted(lane, b"%d" % number)
    assert not idle.asked
    await asyncio.sleep(FULL / 2)
    assert len(idle.asked) == 3


async def test_a_full_batch_does_not_wait() -> None:
    _, lane, (one, other) = scene("a", "b", credit=32)
    one.plan = other.plan = [10.0] * 40
    submitted(lane)
    await asyncio.sleep(0.001)
    for _ in range(16):
        submitted(lane)
    assert sorted([len(one.asked), len(other.asked)]) == [1, 16]


async def test_a_busy_worker_is_not_given_what_another_may_do_sooner() -> None:
    _, lane, (one, other) = scene("a", "b", credit=32)
    for worker in (one, other):
        worker.forecast.reported(now(), 0.020, 0.011, FULL, 0)
        worker.grant(0)
    submitted(lane, b"q")
    assert not one.asked + other.asked
    other.forecast.reported(now(), 0.0, 0.011, FULL, 0)
    other.grant(0)
    await asyncio.sleep(0.014)
    assert (asked(one), asked(other)) == ([], [b"q"])


async def test_workers_are_told_how_much_waits_but_not_of_every_row() -> None:
    _, lane, (worker,) = scene("a")
    for _ in range(10):
        submitted(lane)
        await asyncio.sleep(0.05)
    assert worker.demands == [1, 3, 7]
    worker.grant(100)
    await asyncio.sleep(2)
    assert worker.demands[-1] == 0
    assert lane._timer is None


async def test_an_idle_lane_has_no_timer() -> None:
    _, lane, _ = scene("a", credit=9)
    question = submitted(lane)
    await asyncio.sleep(2)
    assert question.answer == b"a"
    assert lane._timer is None


async def test_what_a_worker_gives_back_is_sent_again_and_not_counted_as_tried() -> None:
    _, lane, (worker,) = scene("a", credit=9)
    worker.plan = [10.0]
    question = submitted(lane)
    worker.break_off()
    await asyncio.sleep(1)
    assert question.answer == b"a"
    assert len(worker.asked) == 2
    assert (question.attempts.count, len(question.tried)) == (0, 1)


def one_dies_with(count: int) -> tuple[Lane, FakeSubchannel, list[Noted]]:
    """A worker dies while it has so many questions; another one is there, and takes ten seconds for each."""
    farm, lane, (dead,) = scene("a", credit=99)
    dead.plan = [50.0] * count
    questions = [submitted(lane, b"%d" % n) for n in range(count)]
    alive = farm.start("a", "b")[1]
    alive.plan = [10.0] * count
    dead.die()
    return lane, alive, questions


async def test_after_a_death_what_was_running_runs_alone_and_one_at_a_time() -> None:
    lane, alive, questions = one_dies_with(3)
    for count in (1, 2, 3):
        assert len(alive.asked) == count
        assert alive.asked[-1].suspect
        await asyncio.sleep(10.001)
    assert [question.answer for question in questions] == [b"b"] * 3
    assert submitted(lane, b"0").suspect is False


async def test_a_suspect_that_a_worker_refuses_is_as_suspect_as_before() -> None:
    farm, lane, (dead,) = scene("a", credit=99)
    dead.plan = [50.0]
    killer = submitted(lane, b"killer")
    refusing = farm.start("a", "b")[1]
    refusing.plan = [errors.WorkerDraining("it ends"), 50.0]
    dead.die()
    await asyncio.sleep(0.1)
    assert [question.suspect for question in refusing.asked] == [True, True]
    refusing.die()
    assert isinstance(killer.error, errors.PoisonRequest)
    lane.close()


async def test_a_suspect_waits_for_a_worker_that_has_not_had_it() -> None:
    _, lane, (one, other) = scene("a", "b")
    one.plan = other.plan = [50.0]
    one.grant(9)
    question = submitted(lane, b"q")
    await asyncio.sleep(0.1)
    lane.died(one, [question])  # it lost this one alone, or is about to be known as dead
    assert (asked(one), asked(other)) == ([b"q"], [])
    other.grant(1)
    assert (asked(one), asked(other)) == ([b"q"], [b"q"])
    lane.close()


async def test_others_go_on_beside_a_suspect() -> None:
    lane, alive, _ = one_dies_with(3)
    submitted(lane, b"new")
    assert [question.suspect for question in alive.asked] == [True, False]


async def test_a_worker_that_loses_a_great_request_first_is_given_no_other_suspect() -> None:
    """Its streams will be missed in a moment: whom it was given then would be blamed for two deaths."""
    lane, alive, questions = one_dies_with(2)
    great = submitted(lane, b"great")
    lane.died(alive, [great])
    assert asked(alive) == [b"0", b"great"]
    questions[0].abandon()
    assert asked(alive) == [b"0", b"great", b"1"]
    lane.close()


async def test_a_suspect_that_is_abandoned_leaves_its_place_to_the_next() -> None:
    lane, alive, questions = one_dies_with(3)
    alive.asked[0].abandon()
    assert [question.request for question in alive.asked] == [b"0", b"1"]
    for question in questions:
        question.abandon()
    assert lane.waiting == 0


async def test_a_request_that_kills_two_workers_is_poison_for_everybody() -> None:
    farm, lane, (one, other) = scene("a", "b", credit=99)
    one.plan = other.plan = [50.0] * 9
    killer = submitted(lane, b"killer")
    for _ in range(2):
        next(worker for worker in (one, other) if worker.ready and killer in worker.asked).die()
    assert isinstance(killer.error, errors.PoisonRequest)
    farm.start("c")
    with pytest.raises(errors.PoisonRequest, match="died while they ran this request"):
        lane.submit(asking(b"killer"))
    assert submitted(lane, b"harmless").error is None
    await asyncio.sleep(601)
    assert submitted(lane, b"killer").error is None
    lane.close()


async def test_many_that_are_alike_are_not_poison_after_one_death() -> None:
    farm, lane, (dead,) = scene("a", credit=99)
    dead.plan = [50.0] * 5
    questions = [submitted(lane, b"same") for _ in range(5)]
    alive = farm.start("a", "b")[1]
    dead.die()
    assert len(alive.asked) == 1  # one is tested for all
    await asyncio.sleep(0.1)
    assert [question.answer for question in questions] == [b"b"] * 5


async def test_those_that_wait_are_told_when_the_last_worker_leaves_and_none_comes() -> None:
    _, lane, (worker,) = scene("a")
    question = submitted(lane)
    worker.set_ready(False)
    await asyncio.sleep(1.1)
    assert isinstance(question.error, errors.NoLiveWorker)
    assert question.at == pytest.approx(1.0)


async def test_a_version_that_is_not_to_come_fails_at_once() -> None:
    farm = Farm("late_binding", directory(model(states=[END])))
    with pytest.raises(errors.ModelNotDeployed):
        farm.balancer.lane(KEY).submit(asking())


async def test_a_lane_without_work_goes_with_its_version() -> None:
    farm, lane, _ = scene("a")
    farm.balancer.update([])
    assert farm.balancer.lane(KEY) is lane  # it is expected to come back
    farm.directory.routes.clear()
    farm.balancer.update([])
    assert farm.balancer.lane(KEY) is not lane


async def test_a_lane_that_is_closed_tells_those_that_wait() -> None:
    _, lane, _ = scene("a")
    question = submitted(lane)
    lane.close()
    assert isinstance(question.error, errors.NoLiveWorker)
    assert lane.waiting == 0
