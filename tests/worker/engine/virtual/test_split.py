from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from penstock import errors
from penstock.worker.engine.closing import LEAD
from penstock.worker.job import Job
from penstock.worker.job_future import settled

from .fakes import Device, ask, asked, engine, job


def large(rows: int, **more: Any) -> Job:
    return Job([np.arange(rows), np.arange(2 * rows).reshape(rows, 2)], rows, "k", math.inf, **more)


class Failing(Device):
    """Fails the pieces that hold a row of the value 5."""

    def launch(self, batch: Any, done: Any) -> None:
        for one in batch:
            if 5 in one.inputs[0]:
                one.inputs = [errors.InvalidInput("five")]
        super().launch(batch, done)


async def test_a_job_of_more_rows_than_a_batch_is_cut_and_put_together_again() -> None:
    device = Device()
    tested = engine(device, max_batch_size=4)
    one = large(10)
    expected = [array.tolist() for array in one.inputs]
    assert await ask(tested, one) == 3.0
    assert [rows for _, rows in device.batches] == [[4], [4], [2]]
    assert one.outputs is not None
    assert [array.tolist() for array in one.outputs] == expected
    assert (one.started, one.queue_s, one.compute_s, one.batch_rows) == (True, 0.0, 3.0, 4)


async def test_its_last_rows_run_with_others() -> None:
    device = Device()
    tested = engine(device, max_batch_size=4)
    assert await asyncio.gather(*asked(tested, large(5), job(2), job())) == [2.0, 2.0, 2.0]
    assert device.batches == [(0.0, [4]), (1.0 - LEAD, [1, 2, 1])]


async def test_its_answer_is_encoded_as_a_whole() -> None:
    one = large(6, encode=lambda outputs: bytes(outputs[0].tolist()))
    assert (await _answered(one)).encoded == bytes(range(6))


async def _answered(one: Job, device: Device | None = None) -> Job:
    tested = engine(device or Device(), max_batch_size=4)
    answer = settled(one)
    tested.submit(one)
    await answer
    return one


async def test_an_answer_that_cannot_be_encoded_is_an_error() -> None:
    def fails(outputs: Any) -> bytes:
        raise errors.ModelError("no bytes")

    with pytest.raises(errors.ModelError, match="no bytes"):
        await _answered(large(6, encode=fails))


async def test_parts_that_do_not_fit_together_are_an_error() -> None:
    class Uneven(Device):
        def launch(self, batch: Any, done: Any) -> None:
            for one in batch:
                one.inputs = [np.zeros([one.rows, one.rows])]
            super().launch(batch, done)

    with pytest.raises(errors.ModelError, match="do not fit together"):
        await _answered(large(6), Uneven())


async def test_one_failure_fails_the_whole_job_once_and_frees_the_rest() -> None:
    told: list[Job] = []
    device = Failing()
    tested = engine(device, max_batch_size=4)
    one = large(20, on_settled=told.append)
    tested.submit(one)
    await tested.drained()
    assert told == [one]
    assert isinstance(one.error, errors.InvalidInput)
    assert [rows for _, rows in device.batches] == [[4], [4], [4]]
    assert len(device.freed) == 2


async def test_a_cancelled_job_takes_all_of_its_pieces_with_it() -> None:
    told: list[Job] = []
    device = Device()
    tested = engine(device, max_batch_size=4)
    one = large(20, on_settled=told.append)
    tested.submit(one)
    await asyncio.sleep(0.5)
    tested.cancel(one)
    assert tested.queued_rows == 0
    await tested.drained()
    assert (told, len(device.batches), len(device.freed)) == ([], 1, 4)


async def test_a_suspect_is_cut_into_pieces_that_run_alone() -> None:
    device = Device()
    tested = engine(device, max_batch_size=4)
    await asyncio.gather(*asked(tested, large(6, suspect=True), job()))
    assert sorted(rows for _, rows in device.batches) == [[1], [2], [4]]


async def test_there_must_be_room_for_all_of_it() -> None:
    tested = engine(Device(), max_batch_size=4, max_queue_size=8)
    tasks = asked(tested, job(4))
    await asyncio.sleep(0.5)
    tasks += asked(tested, job())
    await asyncio.sleep(0.1)
    with pytest.raises(errors.QueueFull):
        tested.submit(large(8))
    assert tested.queued_rows == 1
    await asyncio.gather(*tasks)
