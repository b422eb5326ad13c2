from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from penstock import errors
from penstock.worker.engine import Engine, ServiceTimes
from penstock.worker.engine.closing import LEAD
from penstock.worker.job import Job, StreamJob

from .fakes import Device, ask, asked, engine, job, later, now, poisoned

CLOSED = 1.0 - LEAD
"""When a batch is closed that follows one begun at 0."""


async def test_an_idle_device_starts_at_once() -> None:
    device = Device()
    assert await ask(engine(device), job()) == 1.0
    assert device.batches == [(0.0, [1])]


async def test_what_comes_in_one_turn_of_the_event_loop_runs_together() -> None:
    device = Device()
    tested = engine(device)
    await asyncio.gather(*asked(tested, job(), job(2), job()))
    assert device.batches == [(0.0, [1, 2, 1])]


async def test_what_arrives_while_the_device_is_busy_runs_together_without_a_gap() -> None:
    device = Device()
    tested = engine(device)
    answers = [later(0.1 * n, tested) for n in range(6)]
    assert await asyncio.gather(*answers) == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert device.batches == [(0.0, [1]), (CLOSED, [1, 1, 1, 1, 1])]


async def test_a_batch_is_not_closed_early_because_it_is_full() -> None:
    device = Device()
    tested = engine(device, max_batch_size=2)
    answers = asked(tested, *(job() for _ in range(6)))
    await asyncio.gather(*answers)
    assert device.batches == [(0.0, [1, 1]), (CLOSED, [1, 1]), (2.0 - LEAD, [1, 1])]


async def test_what_comes_after_the_second_batch_was_closed_waits_for_the_first_to_come_back() -> None:
    device = Device()
    tested = engine(device)
    first = asked(tested, job())
    await asyncio.sleep(0.9995)
    second = asked(tested, job())
    await asyncio.sleep(0)
    third = asked(tested, job())
    assert await asyncio.gather(*first, *second, *third) == [1.0, 2.0, 3.0]
    assert device.batches == [(0.0, [1]), (0.9995, [1]), (2.0 - LEAD, [1])]


async def test_the_prediction_begins_anew_with_every_batch_that_comes_back() -> None:
    device = Device(lambda rows: 1.1)
    times = ServiceTimes()
    times.learn(1, 1.0)
    tested = engine(device, times, max_batch_size=1)
    await asyncio.gather(*asked(tested, *(job() for _ in range(20))))
    gaps = [later - sooner for (sooner, _), (later, _) in pairwise(device.batches[2:])]
    assert gaps == pytest.approx([1.1] * 17, abs=0.1)
    assert device.batches[-1][0] == pytest.approx(19 * 1.1 - LEAD, abs=0.01)


async def test_a_processor_is_given_the_next_short_batch_when_it_is_idle() -> None:
    device = Device(lambda rows: 0.002, asynchronous=False)
    tested = engine(device)
    answers = [later(0.0003 * n, tested) for n in range(4)]
    assert await asyncio.gather(*answers) == [0.002, 0.004, 0.004, 0.004]
    assert device.batches == [(0.0, [1]), (0.002, [1, 1, 1])]


async def test_before_anything_is_known_one_batch_runs_and_one_follows() -> None:
    device = Device()
    tested = engine(device, ServiceTimes())
    answers = [later(0.1 * n, tested) for n in range(4)]
    assert await asyncio.gather(*answers) == [1.0, 2.0, 3.0, 3.0]


async def test_the_model_is_known_by_what_has_run() -> None:
    device = Device(lambda rows: 0.010 + 0.001 * rows)
    tested = engine(device, ServiceTimes(), max_batch_size=16)
    await ask(tested, job())
    await ask(tested, job(16))
    load = tested.load()
    assert (load.free_s, load.one_s, load.full_s) == pytest.approx((0.0, 0.011, 0.026))


async def test_a_batch_in_which_something_failed_teaches_nothing() -> None:
    tested = engine(Device(), ServiceTimes())
    with pytest.raises(errors.ModelError):
        await ask(tested, poisoned(errors.ModelError("broken")))
    assert tested.load().one_s == 0.0


async def test_an_engine_knows_what_waits_and_what_runs() -> None:
    tested = engine(Device())
    tasks = asked(tested, job(), job(2))
    await asyncio.sleep(0.5)
    assert (tested.queued_rows, tested.running_rows) == (0, 3)
    tasks += asked(tested, job(4))
    await asyncio.sleep(0.1)
    load = tested.load()
    assert (tested.queued_rows, tested.running_rows, load.waiting_rows) == (4, 3, 4)
    assert load.free_s == pytest.approx(0.4)
    await asyncio.gather(*tasks)
    assert (tested.queued_rows, tested.running_rows) == (0, 0)
    counters = tested.counters
    assert (counters.rows, counters.batches, counters.closed_ahead, counters.failures) == (7, 2, 1, 0)


async def test_a_job_knows_how_long_it_waited_and_ran_and_with_how_many() -> None:
    tested = engine(Device())
    first = job()
    tasks = asked(tested, first)
    await asyncio.sleep(0.5)
    second = job()
    await asyncio.gather(*tasks, *asked(tested, second, job(3)))
    assert (first.queue_s, first.compute_s, first.batch_rows) == (0.0, 1.0, 1)
    assert (round(second.queue_s, 6), second.compute_s, second.batch_rows) == (0.5 - LEAD, 1.0, 4)


async def test_every_job_has_its_own_outcome() -> None:
    tested = engine(Device())
    bad = poisoned(errors.InvalidInput("negative"))
    outcomes = await asyncio.gather(*asked(tested, job(), bad, job()), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [float, errors.InvalidInput, float]
    assert (tested.counters.rows, tested.failures) == (2, 1)


async def test_who_cannot_be_told_does_not_keep_others_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    def fails(job: Job) -> None:
        raise RuntimeError("gone")

    tested = engine(Device())
    tested.submit(job(on_settled=fails))
    assert await ask(tested, job()) == 1.0
    assert "could not be passed on" in caplog.text


async def test_the_soonest_deadline_runs_first() -> None:
    device = Device()
    tested = engine(device, max_batch_size=1)
    answers = asked(tested, job(), job(deadline=9.0), job(deadline=5.0), job(deadline=7.0))
    assert await asyncio.gather(*answers) == [4.0, 3.0, 1.0, 2.0]


async def test_a_low_lane_is_served_later_but_not_never() -> None:
    device = Device()
    tested = engine(device, max_batch_size=1)
    running = asked(tested, job())
    low = asked(tested, job(deadline=100.0, priority=-1))
    normal = [asyncio.create_task(later(0.4 * n, tested, lambda: job(deadline=100.0))) for n in range(1, 5)]
    answers = await asyncio.gather(*running, *low, *normal)
    assert answers == [1.0, 3.0, 2.0, 4.0, 5.0, 6.0]


async def test_only_jobs_of_one_key_run_together() -> None:
    device = Device()
    tested = engine(device)
    first = asked(tested, job())
    await asyncio.sleep(0.1)
    await asyncio.gather(*first, *asked(tested, job(2, key="a"), job(3, key="b"), job(4, key="a")))
    assert [rows for _, rows in device.batches] == [[1], [2, 4], [3]]


async def test_a_suspect_runs_alone() -> None:
    device = Device()
    tested = engine(device)
    await asyncio.gather(*asked(tested, job(), job(2, suspect=True), job(3), job(4, suspect=True)))
    assert [rows for _, rows in device.batches] == [[1, 3], [2], [4]]


async def test_the_oldest_is_given_up_rather_than_that_the_batch_is_made_smaller() -> None:
    device = Device(lambda rows: 0.1 * rows)
    tested = engine(device, max_batch_size=10)
    running = asked(tested, job(10))
    await asyncio.sleep(0.5)
    oldest = asked(tested, job(deadline=1.25))
    others = asked(tested, *(job(deadline=5.0) for _ in range(5)))
    outcomes = await asyncio.gather(*running, *oldest, *others, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [float, errors.ExpiredInQueue] + [float] * 5
    assert device.batches[1] == (CLOSED, [1] * 5)
    assert device.freed == [one for one in device.written if one.deadline == 1.25]
    assert tested.failures == 1


async def test_a_job_whose_time_is_over_is_refused() -> None:
    tested = engine(Device())
    await asyncio.sleep(5.0)
    with pytest.raises(errors.ExpiredInQueue):
        tested.submit(job(deadline=5.0))
    assert tested.failures == 1


async def test_a_job_that_could_only_be_late_is_refused_and_told_how_late() -> None:
    tested = engine(Device(), max_batch_size=2)
    tasks = asked(tested, *(job(deadline=3.4) for _ in range(6)))
    await asyncio.sleep(0.5)
    with pytest.raises(errors.PredictedLate, match="about 501 ms late") as caught:
        tested.submit(job(deadline=3.5))
    assert caught.value.retry_after == pytest.approx(0.501)
    tasks += asked(tested, job(deadline=4.1))
    assert await asyncio.gather(*tasks) == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0]


async def test_an_idle_device_is_asked_now_and_then_whether_it_is_still_too_slow() -> None:
    device = Device(lambda rows: 0.01)
    times = ServiceTimes()
    times.learn(1, 3.0)
    tested = engine(device, times)
    outcomes: list[float | BaseException] = []
    while not outcomes or isinstance(outcomes[-1], errors.ExpiredInQueue):
        outcomes += await asyncio.gather(*asked(tested, job(deadline=now() + 2.9)), return_exceptions=True)
    assert len(outcomes) == 17
    assert tested.load().one_s == pytest.approx(2.4, rel=0.01)
    assert await ask(tested, job(deadline=now() + 2.9)) > 0


async def test_rows_are_written_when_they_arrive_and_freed_when_nobody_wants_them() -> None:
    device = Device()
    tested = engine(device)
    running, waiting = job(), job(2)
    [first] = asked(tested, running)
    await asyncio.sleep(0.5)
    [second] = asked(tested, waiting)
    await asyncio.sleep(0.1)
    assert device.written == [running, waiting]
    second.cancel()
    await first
    assert device.freed == [waiting]
    assert device.batches == [(0.0, [1])]


async def test_a_cancelled_job_leaves_the_queue_and_frees_its_room() -> None:
    device = Device()
    tested = engine(device, max_queue_size=2)
    running = asked(tested, job())
    await asyncio.sleep(0.1)
    [waiting] = asked(tested, job(2))
    await asyncio.sleep(0.1)
    with pytest.raises(errors.QueueFull, match="2 rows wait and at most 2 may"):
        tested.submit(job())
    waiting.cancel()
    await asyncio.sleep(0.1)
    assert tested.queued_rows == 0
    await asyncio.gather(*running, *asked(tested, job(2)))
    assert device.batches == [(0.0, [1]), (CLOSED, [2])]


async def test_a_job_that_is_cancelled_while_it_runs_tells_nobody() -> None:
    told: list[Job] = []
    tested = engine(Device())
    one = job(on_settled=told.append)
    tested.submit(one)
    await asyncio.sleep(0.5)
    for _ in range(2):
        tested.cancel(one)
    await tested.drained()
    assert (told, one.started, one.abandoned, one.settled) == ([], True, True, True)


async def test_as_many_bytes_wait_as_may() -> None:
    tested = engine(Device(), max_queue_bytes=100)
    tasks = asked(tested, job())
    await asyncio.sleep(0.5)
    tasks += asked(tested, job(size=70))
    await asyncio.sleep(0.1)
    with pytest.raises(errors.MemoryPressure, match="70 bytes wait and at most 100 may"):
        tested.submit(job(size=31))
    tested.submit(job(size=30))
    await asyncio.gather(*tasks)


async def test_an_empty_queue_takes_a_job_of_any_size() -> None:
    tested = engine(Device(), max_queue_size=2, max_queue_bytes=100)
    assert await ask(tested, job(5, size=500)) == 1.0


async def test_a_stream_is_in_time_if_it_can_begin_in_time() -> None:
    tested = engine(Device(), max_batch_size=1)
    tested.submit(job())
    await asyncio.sleep(0.5)
    stream = StreamJob(job().inputs, 1, "k", 1.1)
    tested.submit(stream)
    await tested.drained()
    assert [outputs async for outputs in stream.answers()] == []
    assert stream.error is None


async def test_a_stream_of_more_rows_than_a_batch_has_is_refused() -> None:
    tested = engine(Device(), max_batch_size=4)
    with pytest.raises(errors.BatchTooLarge, match="5 rows, and the model takes at most 4") as caught:
        tested.submit(StreamJob(job(5).inputs, 5, "k", 9.0))
    assert [v.field for v in caught.value.violations] == ["inputs[0].shape[0]"]
    assert tested.failures == 1


class TestDelay:
    async def test_a_lone_request_waits_the_delay_and_no_longer(self) -> None:
        device = Device()
        tested = engine(device, max_queue_delay=0.25)
        assert await ask(tested, job()) == 1.25
        await asyncio.sleep(10.0)
        assert await ask(tested, job()) == 12.5
        assert device.batches == [(0.25, [1]), (11.5, [1])]

    async def test_requests_that_come_within_the_delay_run_together(self) -> None:
        device = Device()
        tested = engine(device, max_queue_delay=0.25)
        await asyncio.gather(*(later(0.1 * n, tested) for n in range(3)))
        assert device.batches == [(0.25, [1, 1, 1])]

    async def test_a_full_batch_ends_the_delay(self) -> None:
        device = Device()
        tested = engine(device, max_queue_delay=5.0, max_batch_size=4)
        answers = [later(0.5 * n, tested, lambda: job(2)) for n in range(2)]
        assert await asyncio.gather(*answers) == [1.5, 1.5]
        assert device.batches == [(0.5, [2, 2])]

    async def test_what_came_while_the_device_was_busy_has_waited_already(self) -> None:
        device = Device(lambda rows: 0.002, asynchronous=False)
        tested = engine(device, max_queue_delay=0.003)
        answers = [later(0.001 * n, tested) for n in (0, 4, 6)]
        assert await asyncio.gather(*answers) == pytest.approx([0.005, 0.009, 0.009])
        assert device.batches == [(0.003, [1]), (0.007, [1, 1])]

    async def test_draining_ends_the_delay(self) -> None:
        tested = engine(Device(), max_queue_delay=60.0)
        tasks = asked(tested, job())
        await asyncio.sleep(0.5)
        tested.refuse_new()
        await tested.drained()
        assert await asyncio.gather(*tasks) == [1.5]

    async def test_a_queue_whose_last_request_was_cancelled_is_drained(self) -> None:
        tested = engine(Device(), max_queue_delay=60.0)
        [waiting] = asked(tested, job())
        await asyncio.sleep(0.5)
        waiting.cancel()
        await tested.drained()
        assert now() == 0.5


class TestDrain:
    async def test_a_draining_worker_refuses_the_new_and_finishes_the_old(self) -> None:
        tested = engine(Device(), max_batch_size=1)
        old = asked(tested, job(), job())
        await asyncio.sleep(0.5)
        tested.refuse_new()
        with pytest.raises(errors.WorkerDraining):
            tested.submit(job())
        await tested.drained()
        assert now() == 2.0
        assert await asyncio.gather(*old) == [1.0, 2.0]

    async def test_a_batch_that_was_just_taken_is_not_drained(self) -> None:
        tested = engine(Device(lambda rows: 3.0))
        tasks = asked(tested, job())
        await asyncio.sleep(0)
        tested.refuse_new()
        await tested.drained()
        assert now() == 3.0
        await asyncio.gather(*tasks)

    async def test_an_idle_engine_is_drained_at_once(self) -> None:
        tested = engine(Device())
        tested.refuse_new()
        await tested.drained()
        assert now() == 0.0

    async def test_waiting_for_it_can_be_given_up(self) -> None:
        tested = engine(Device())
        tested.submit(job())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await tested.drained()
        await tested.drained()
        assert now() == 1.0

    async def test_what_is_given_up_is_answered_with_errors_that_a_gateway_retries(self) -> None:
        device = Device(lambda rows: 100.0)
        tested = engine(device)
        tasks = asked(tested, job())
        await asyncio.sleep(1.0)
        tasks += asked(tested, job(2), job(key="other"))
        await asyncio.sleep(1.0)
        tested.give_up()
        kinds = [type(outcome) for outcome in await asyncio.gather(*tasks, return_exceptions=True)]
        assert kinds == [errors.WorkerLost, errors.WorkerDraining, errors.WorkerDraining]
        assert (now(), tested.queued_rows, len(device.freed)) == (2.0, 0, 2)


class TestRoom:
    @staticmethod
    def heard(tested: Engine) -> list[tuple[float, int]]:
        """When the engine said that there is room, and how much."""
        told: list[tuple[float, int]] = []
        tested.on_room = lambda: told.append((round(now(), 6), tested.room(now())))
        return told

    async def test_rows_are_let_in_shortly_before_the_device_is_free(self) -> None:
        tested = engine(Device(), max_batch_size=4)
        told = self.heard(tested)
        assert tested.room(0.0) == 8
        await ask(tested, job())
        assert told == [(0.0, 0), (0.85, 4), (1.0, 8)]

    async def test_it_is_said_once_a_batch(self) -> None:
        tested = engine(Device(), max_batch_size=2)
        told = self.heard(tested)
        await asyncio.gather(*asked(tested, *(job() for _ in range(6))))
        assert told == [
            (0.0, 0),
            (0.85, 0),
            (CLOSED, 0),
            (1.0, 0),
            (1.85, 0),
            (2.0 - LEAD, 0),
            (2.0, 0),
            (2.85, 2),
            (3.0, 4),
        ]

    async def test_short_batches_let_rows_in_while_others_run(self) -> None:
        tested = engine(Device(lambda rows: 0.004), max_batch_size=4)
        told = self.heard(tested)
        await ask(tested, job())
        assert told == [(0.0, 11), (0.004, 12)]
