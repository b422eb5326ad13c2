from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from penstock import errors
from penstock.worker.batch_queue import BatchPolicy
from penstock.worker.batcher import Batcher
from penstock.worker.job import Job


@dataclass
class Device:
    """Takes `seconds` for each batch and gives every job its own input back."""

    seconds: float = 1.0
    batches: list[tuple[float, list[int]]] = field(default_factory=list)
    """When each began, and the rows of its jobs."""

    async def run(self, jobs: Sequence[Job]) -> None:
        self.batches.append((now(), [job.rows for job in jobs]))
        await asyncio.sleep(self.seconds)
        for job in jobs:
            job.deliver(job.inputs)


def now() -> float:
    return asyncio.get_running_loop().time()


def job(rows: int = 1, deadline: float = math.inf, key: str = "k") -> Job:
    return Job([np.zeros(rows)], rows, key, deadline)


@asynccontextmanager
async def serving(device: Device, **policy: float) -> AsyncIterator[Batcher]:
    batcher = Batcher(device.run, BatchPolicy(**policy))  # type: ignore[arg-type]
    task = asyncio.create_task(batcher.serve())
    yield batcher
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def ask(batcher: Batcher, job: Job) -> float:
    """Returns when the answer came."""
    with batcher.admit(job):
        await job.answer()
    return now()


def asked(batcher: Batcher, *jobs: Job) -> list[asyncio.Task[float]]:
    return [asyncio.create_task(ask(batcher, one)) for one in jobs]


async def later(seconds: float, act: Callable[[], Awaitable[float]]) -> float:
    await asyncio.sleep(seconds)
    return await act()


async def test_an_idle_device_starts_at_once() -> None:
    device = Device()
    async with serving(device) as batcher:
        assert await ask(batcher, job()) == 1.0
    assert device.batches == [(0.0, [1])]


async def test_what_arrives_while_the_device_is_busy_runs_together_as_soon_as_it_is_free() -> None:
    device = Device()
    async with serving(device) as batcher:
        answers = [later(0.1 * n, lambda: ask(batcher, job())) for n in range(6)]
        assert await asyncio.gather(*answers) == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert device.batches == [(0.0, [1]), (1.0, [1, 1, 1, 1, 1])]


async def test_a_job_knows_how_long_it_waited_and_nothing_waits_afterwards() -> None:
    device = Device()
    async with serving(device) as batcher:
        first, second = job(), job(2)
        tasks = asked(batcher, first, second)
        await asyncio.sleep(0.5)
        assert batcher.queued_rows == 0
        tasks += asked(batcher, job(3))
        await asyncio.sleep(0.1)
        assert batcher.queued_rows == 3
        await asyncio.gather(*tasks)
        assert batcher.queued_rows == 0


async def test_a_lone_request_waits_the_delay_and_no_longer() -> None:
    device = Device()
    async with serving(device, max_queue_delay=0.25) as batcher:
        assert await ask(batcher, job()) == 1.25
        await asyncio.sleep(10.0)
        assert await ask(batcher, job()) == 12.5
    assert device.batches == [(0.25, [1]), (11.5, [1])]


async def test_requests_that_come_within_the_delay_run_together() -> None:
    device = Device()
    async with serving(device, max_queue_delay=0.25) as batcher:
        await asyncio.gather(*(later(0.1 * n, lambda: ask(batcher, job())) for n in range(3)))
    assert device.batches == [(0.25, [1, 1, 1])]


async def test_a_full_batch_ends_the_delay() -> None:
    device = Device()
    async with serving(device, max_queue_delay=5.0, max_batch_size=4) as batcher:
        answers = [later(0.5 * n, lambda: ask(batcher, job(2))) for n in range(2)]
        assert await asyncio.gather(*answers) == [1.5, 1.5]
    assert device.batches == [(0.5, [2, 2])]


async def test_a_cancelled_request_leaves_the_queue_and_frees_its_room() -> None:
    device = Device()
    async with serving(device, max_queue_size=2) as batcher:
        running, *_ = asked(batcher, job())
        await asyncio.sleep(0.1)
        [waiting] = asked(batcher, job(2))
        await asyncio.sleep(0.1)
        with pytest.raises(errors.QueueFull, match="2 rows wait and at most 2 may"):
            await ask(batcher, job())
        waiting.cancel()
        await asyncio.sleep(0.1)
        assert batcher.queued_rows == 0
        await asyncio.gather(running, *asked(batcher, job(2)))
    assert device.batches == [(0.0, [1]), (1.0, [2])]


async def test_a_request_whose_deadline_passed_in_the_queue_is_not_run() -> None:
    device = Device()
    async with serving(device) as batcher:
        answers = asked(batcher, job(), job(deadline=math.inf))
        await asyncio.sleep(0.1)
        answers += asked(batcher, job(deadline=0.9), job(deadline=1.5))
        *_, late, timely = await asyncio.gather(*answers, return_exceptions=True)
        assert isinstance(late, errors.ExpiredInQueue)
        assert timely == 2.0
        assert batcher.failures == 1
    assert device.batches == [(0.0, [1, 1]), (1.0, [1])]


async def test_a_request_larger_than_any_batch_is_refused_at_once() -> None:
    async with serving(Device(), max_batch_size=4) as batcher:
        with pytest.raises(errors.BatchTooLarge, match="5 rows, and the model takes at most 4") as caught:
            await ask(batcher, job(5))
        assert [v.field for v in caught.value.violations] == ["inputs[0].shape[0]"]
        assert batcher.failures == 1


async def test_a_draining_worker_refuses_the_new_and_finishes_the_old() -> None:
    device = Device()
    async with serving(device, max_batch_size=1) as batcher:
        old = asked(batcher, job(), job())
        await asyncio.sleep(0.5)
        batcher.refuse_new()
        with pytest.raises(errors.WorkerDraining):
            await ask(batcher, job())
        await batcher.drained()
        assert now() == 2.0
        assert await asyncio.gather(*old) == [1.0, 2.0]


async def test_a_batch_that_was_just_taken_is_not_drained() -> None:
    async with serving(Device(seconds=3.0)) as batcher:
        tasks = asked(batcher, job())
        await asyncio.sleep(0)
        batcher.refuse_new()
        await batcher.drained()
        assert now() == 3.0
        await asyncio.gather(*tasks)


async def test_an_idle_batcher_is_drained_at_once() -> None:
    async with serving(Device()) as batcher:
        batcher.refuse_new()
        await batcher.drained()
        assert now() == 0.0


async def test_draining_ends_the_delay() -> None:
    async with serving(Device(), max_queue_delay=60.0) as batcher:
        tasks = asked(batcher, job())
        await asyncio.sleep(0.5)
        batcher.refuse_new()
        await batcher.drained()
        assert await asyncio.gather(*tasks) == [1.5]


async def test_a_queue_whose_last_request_was_cancelled_during_the_delay_is_drained() -> None:
    async with serving(Device(), max_queue_delay=60.0) as batcher:
        [waiting] = asked(batcher, job())
        await asyncio.sleep(0.5)
        waiting.cancel()
        await batcher.drained()
        assert now() == 0.5


async def test_what_is_given_up_is_answered_with_errors_that_a_gateway_retries() -> None:
    async with serving(Device(seconds=100.0)) as batcher:
        tasks = asked(batcher, job())
        await asyncio.sleep(1.0)
        tasks += asked(batcher, job(2), job(key="other"))
        await asyncio.sleep(1.0)
        batcher.give_up()
        kinds = [type(outcome) for outcome in await asyncio.gather(*tasks, return_exceptions=True)]
        assert kinds == [errors.WorkerLost, errors.WorkerDraining, errors.WorkerDraining]
        assert (now(), batcher.queued_rows) == (2.0, 0)


async def test_only_jobs_of_one_key_run_together() -> None:
    device = Device()
    async with serving(device) as batcher:
        first = asked(batcher, job())
        await asyncio.sleep(0.1)
        await asyncio.gather(*first, *asked(batcher, job(2, key="a"), job(3, key="b"), job(4, key="a")))
    assert [rows for _, rows in device.batches] == [[1], [2, 4], [3]]
