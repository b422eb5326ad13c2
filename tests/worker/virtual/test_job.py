from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from penstock import errors
from penstock.worker.job import MAX_UNREAD_ANSWERS, Job, Outputs, StreamJob


def answer(number: int) -> Outputs:
    return [np.array([number])]


OUTPUTS = answer(1)
BROKEN = errors.ModelError("broken")


def stream() -> StreamJob:
    return StreamJob([], 1, None, math.inf)


async def read(job: StreamJob, seen: list[int] | None = None) -> list[int]:
    """All answers; `seen` has them also when an error follows."""
    seen = [] if seen is None else seen
    async for outputs in job.answers():
        seen.append(int(outputs[0][0]))
    return seen


def told() -> tuple[Job, list[Job]]:
    """A job, and what it tells."""
    heard: list[Job] = []
    return Job([np.zeros(1)], 1, None, math.inf, arrived=0.0, on_settled=heard.append), heard


def test_a_job_has_one_outcome_the_first_and_tells_it_once() -> None:
    job, heard = told()
    job.settle(answer(1))
    job.settle(errors.ModelError("too late"))
    job.settle(answer(2))
    assert job.outputs is not None
    assert (job.outputs[0][0], job.error, heard) == (1, None, [job])


@pytest.mark.parametrize(
    ("outcome", "outputs", "encoded", "error"),
    [
        (OUTPUTS, OUTPUTS, None, None),
        (b"bytes", None, b"bytes", None),
        (BROKEN, None, None, BROKEN),
        (None, None, None, None),
    ],
)
def test_an_outcome_is_outputs_or_bytes_or_an_error(outcome: Any, outputs: Any, encoded: Any, error: Any) -> None:
    job, _ = told()
    job.settle(outcome)
    assert (job.outputs, job.encoded, job.error, job.settled) == (outputs, encoded, error, True)


def test_a_settled_job_holds_neither_its_inputs_nor_who_waited() -> None:
    job, _ = told()
    job.settle(answer(1))
    assert (list(job.inputs), job.on_settled) == ([], None)


def test_an_abandoned_job_tells_nobody() -> None:
    job, heard = told()
    job.abandoned = True
    job.settle(answer(1))
    assert (heard, job.settled) == ([], True)


async def test_a_job_remembers_when_it_left_the_queue() -> None:
    job, _ = told()
    await asyncio.sleep(2.5)
    job.begin(asyncio.get_running_loop().time(), 8)
    assert (job.queue_s, job.batch_rows, job.started) == (2.5, 8, True)


def test_a_job_in_a_higher_lane_leaves_the_queue_sooner_and_one_without_a_deadline_does_not_wait_for_ever() -> None:
    lanes = [Job([], 1, None, 105.0, arrived=100.0, priority=priority).order for priority in (1, 0, -1)]
    assert lanes == sorted(lanes)
    assert lanes[1] < Job([], 1, None, math.inf, arrived=100.0).order < 200.0


async def test_a_stream_gives_all_answers_and_ends() -> None:
    job = stream()
    reading = asyncio.create_task(read(job))
    for number in range(3):
        job.deliver(answer(number))
        await asyncio.sleep(1.0)
    job.settle(None)
    assert await reading == [0, 1, 2]


async def test_a_failed_stream_gives_what_came_before_and_then_raises() -> None:
    job, seen = stream(), list[int]()
    job.deliver(answer(1))
    job.settle(errors.ModelError("broken"))
    with pytest.raises(errors.ModelError):
        await read(job, seen)
    assert seen == [1]


async def test_a_stream_ends_once() -> None:
    job = stream()
    for number in range(MAX_UNREAD_ANSWERS):
        job.deliver(answer(number))
    job.settle(errors.ModelError("broken"))
    job.settle(None)
    job.deliver(answer(99))
    job.settle(errors.WorkerLost("gone"))
    with pytest.raises(errors.ModelError):
        await read(job)


async def test_a_reader_who_is_too_slow_gets_what_was_kept_and_then_an_error() -> None:
    job, seen = stream(), list[int]()
    for number in range(MAX_UNREAD_ANSWERS + 10):
        job.deliver(answer(number))
    job.settle(None)
    assert job.abandoned
    with pytest.raises(errors.SlowConsumer):
        await read(job, seen)
    assert seen == list(range(MAX_UNREAD_ANSWERS))


async def test_a_reader_who_keeps_up_may_read_without_end() -> None:
    job = stream()
    reading = asyncio.create_task(read(job))
    for number in range(10 * MAX_UNREAD_ANSWERS):
        job.deliver(answer(number))
        await asyncio.sleep(0)
    job.settle(None)
    assert len(await reading) == 10 * MAX_UNREAD_ANSWERS


async def test_a_stream_that_has_ended_is_settled_without_outputs() -> None:
    job = stream()
    job.deliver(answer(1))
    job.settle(None)
    assert (job.settled, job.outputs, job.error) == (True, None, None)
    assert await read(job) == [1]
