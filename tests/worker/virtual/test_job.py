from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from penstock import errors
from penstock.worker.job import MAX_UNREAD_ANSWERS, Job, Outputs, StreamJob


def answer(number: int) -> Outputs:
    return [np.array([number])]


def stream() -> StreamJob:
    return StreamJob([], 1, None, math.inf)


async def read(job: StreamJob, seen: list[int] | None = None) -> list[int]:
    """All answers; `seen` has them also when an error follows."""
    seen = [] if seen is None else seen
    async for outputs in job.answers():
        seen.append(int(outputs[0][0]))
    return seen


async def test_a_job_has_one_outcome_the_first() -> None:
    job = Job([], 1, None, math.inf)
    job.deliver(answer(1))
    job.fail(errors.ModelError("too late"))
    job.deliver(answer(2))
    assert (await job.answer())[0][0] == 1


async def test_a_failed_job_raises_and_nobody_needs_to_look() -> None:
    for job in (Job([], 1, None, math.inf), Job([], 1, None, math.inf)):
        job.fail(errors.ModelError("broken"))
    with pytest.raises(errors.ModelError, match="broken"):
        await job.answer()


async def test_a_job_remembers_when_it_left_the_queue() -> None:
    job = Job([], 1, None, math.inf)
    await asyncio.sleep(2.5)
    job.begin(asyncio.get_running_loop().time(), 8)
    assert (job.queue_s, job.batch_rows) == (2.5, 8)


async def test_a_stream_gives_all_answers_and_ends() -> None:
    job = stream()
    reading = asyncio.create_task(read(job))
    for number in range(3):
        job.deliver(answer(number))
        await asyncio.sleep(1.0)
    job.finish()
    assert await reading == [0, 1, 2]


async def test_a_failed_stream_gives_what_came_before_and_then_raises() -> None:
    job, seen = stream(), list[int]()
    job.deliver(answer(1))
    job.fail(errors.ModelError("broken"))
    with pytest.raises(errors.ModelError):
        await read(job, seen)
    assert seen == [1]


async def test_a_stream_ends_once() -> None:
    job = stream()
    for number in range(MAX_UNREAD_ANSWERS):
        job.deliver(answer(number))
    job.fail(errors.ModelError("broken"))
    job.finish()
    job.deliver(answer(99))
    job.fail(errors.WorkerLost("gone"))
    with pytest.raises(errors.ModelError):
        await read(job)


async def test_a_reader_who_is_too_slow_gets_what_was_kept_and_then_an_error() -> None:
    job, seen = stream(), list[int]()
    for number in range(MAX_UNREAD_ANSWERS + 10):
        job.deliver(answer(number))
    job.finish()
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
    job.finish()
    assert len(await reading) == 10 * MAX_UNREAD_ANSWERS
