from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from penstock import errors
from penstock.worker.executor import Executor
from penstock.worker.job import Job, StreamJob

from .conftest import job, launch, run

Make = Callable[..., Executor]


def asks(*rows: float) -> StreamJob:
    made: Job = job(np.array([[row, row] for row in rows], np.float32), kind=StreamJob)
    assert isinstance(made, StreamJob)
    return made


async def read(job: StreamJob) -> list[Any]:
    return [outputs[0].tolist() async for outputs in job.answers()]


def never(values: Any) -> Any:
    raise AssertionError("a generator is not run like a function")


async def test_each_caller_gets_its_rows_of_every_answer(executor: Make) -> None:
    def count(values: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        for number in range(3):
            yield [values[0][:, 0] + number]

    jobs = [asks(10), asks(20, 30)]
    await run(executor(never, stream=count), *jobs)
    assert await read(jobs[0]) == [[10], [11], [12]]
    assert await read(jobs[1]) == [[20, 30], [21, 31], [22, 32]]


async def test_an_answer_is_there_before_the_next_is_made(executor: Make) -> None:
    go = threading.Event()

    def two(values: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        yield [values[0]]
        assert go.wait(30)
        yield [values[0] * 2]

    asked = asks(1)
    running = launch(executor(never, stream=two), asked)
    answers = asked.answers()
    assert (await anext(answers))[0].tolist() == [[1, 1]]
    go.set()
    assert (await anext(answers))[0].tolist() == [[2, 2]]
    await running


async def test_a_generator_stops_when_nobody_listens(executor: Make) -> None:
    asked, made = asks(1), [0]

    def endless(values: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        while True:
            made[0] += 1
            asked.abandoned = made[0] == 5
            yield [values[0]]

    await run(executor(never, stream=endless), asked)
    assert made == [5]


async def test_a_poisoned_request_fails_alone_if_no_answer_was_given_yet(executor: Make) -> None:
    def picky(values: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        if (values[0] < 0).any():
            raise errors.InvalidInput("negative")
        yield [values[0]]

    good, bad = asks(1), asks(-1)
    await run(executor(never, stream=picky), good, bad)
    assert await read(good) == [[[1, 1]]]
    with pytest.raises(errors.InvalidInput):
        await read(bad)


async def test_an_error_after_the_first_answer_ends_all_streams_and_tells_nothing(executor: Make) -> None:
    def breaks(values: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        yield [values[0]]
        raise errors.InvalidInput("about somebody else")

    jobs = [asks(1), asks(2)]
    await run(executor(never, stream=breaks), *jobs)
    for one in jobs:
        with pytest.raises(errors.ModelError, match="the model raised"):
            await read(one)
