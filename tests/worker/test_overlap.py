from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import torch

from penstock import errors
from penstock.worker.executor import Executor
from penstock.worker.job import Outputs
from penstock.worker.loaded import Later
from penstock.worker.model_thread import ModelThread

from .conftest import executors, job, launch, run

Make = Callable[..., Executor]
PATIENCE = 30


@pytest.fixture(params=["cpu", "no room"])
def executor(request: pytest.FixtureRequest, thread: ModelThread, fatal: list[str]) -> Make:
    return executors(thread, fatal, request.param)


def vector(*rows: float) -> Any:
    return np.array([[row, row] for row in rows], np.float32)


class Slow:
    """A model that answers when it is told to. Its device is given the numbers in `started`."""

    def __init__(self) -> None:
        self.started: list[list[float]] = []
        self.begun = threading.Semaphore(0)
        self.answers: list[Future[list[torch.Tensor]]] = []

    def __call__(self, values: list[torch.Tensor]) -> Later:
        self.started.append(values[0][:, 0].tolist())
        future: Future[list[torch.Tensor]] = Future()
        self.answers.append(future)
        self.begun.release()
        return Later(future.result)

    def wait(self) -> None:
        """Until one more batch has been started."""
        assert self.begun.acquire(timeout=PATIENCE)


async def test_the_next_batch_is_started_while_one_is_waited_for(executor: Make) -> None:
    slow = Slow()
    made = executor(slow)
    first, second = launch(made, job(vector(1)), job(vector(2))), launch(made, job(vector(3)))
    slow.wait()
    slow.wait()
    assert slow.started == [[1, 2], [3]]
    slow.answers[1].set_result([torch.tensor([[30.0, 30.0]])])
    slow.answers[0].set_result([torch.tensor([[10.0, 10.0], [20.0, 20.0]])])
    assert [o[0].tolist() for o in (await first).outcomes if isinstance(o, list)] == [[[10, 10]], [[20, 20]]]
    assert [o[0].tolist() for o in (await second).outcomes if isinstance(o, list)] == [[[30, 30]]]
    assert made.asynchronous


async def test_batches_end_in_their_order_also_if_the_first_must_be_run_again(executor: Make) -> None:
    slow, ended = Slow(), list[str]()
    made = executor(slow)
    first = launch(made, job(vector(1)), job(vector(-2)))
    slow.wait()
    second = launch(made, job(vector(3)))
    slow.wait()
    first.add_done_callback(lambda _: ended.append("first"))
    second.add_done_callback(lambda _: ended.append("second"))
    slow.answers[1].set_result([torch.tensor([[30.0, 30.0]])])
    slow.answers[0].set_exception(RuntimeError("secret"))
    slow.wait()
    slow.answers[2].set_result([torch.tensor([[10.0, 10.0]])])
    slow.wait()
    slow.answers[3].set_exception(errors.InvalidInput("-2 is negative"))
    (good, bad), _ = [finished.outcomes for finished in await asyncio.gather(first, second)]
    assert isinstance(good, list)
    assert good[0].tolist() == [[10, 10]]
    assert isinstance(bad, errors.InvalidInput)
    assert ended == ["first", "second"]
    assert slow.started == [[1, -2], [3], [1], [-2]]


async def test_a_batch_that_cannot_be_started_does_not_overtake_the_one_before_it(executor: Make) -> None:
    slow, ended = Slow(), list[str]()

    def picky(values: list[torch.Tensor]) -> Later:
        if (values[0] < 0).any():
            slow.begun.release()
            raise errors.InvalidInput("negative")
        return slow(values)

    made = executor(picky)
    first = launch(made, job(vector(1)))
    slow.wait()
    second = launch(made, job(vector(-1)))
    slow.wait()
    first.add_done_callback(lambda _: ended.append("first"))
    second.add_done_callback(lambda _: ended.append("second"))
    slow.answers[0].set_result([torch.tensor([[10.0, 10.0]])])
    _, [outcome] = [finished.outcomes for finished in await asyncio.gather(first, second)]
    assert isinstance(outcome, errors.InvalidInput)
    assert ended == ["first", "second"]


async def test_a_batch_is_told_the_time_that_it_had_the_device_for_itself(executor: Make) -> None:
    slow = Slow()
    made = executor(slow)
    first, second = launch(made, job(vector(1))), launch(made, job(vector(2)))
    slow.wait()
    slow.wait()
    for answer in slow.answers:
        answer.set_result([torch.zeros(1, 2)])
    one, two = await first, await second
    assert one.device_s == one.seconds
    assert two.device_s is not None
    assert two.seconds - one.seconds <= two.device_s < two.seconds


def encode(outputs: Outputs) -> bytes:
    return b"".join(np.ascontiguousarray(array).tobytes() for array in outputs)


async def test_answers_are_encoded_before_the_rows_are_used_again(executor: Make) -> None:
    made = executor(lambda values: values, most=1)
    [first] = await run(made, job(vector(1), encode=encode))
    [second] = await run(made, job(vector(2), encode=encode))
    assert (first, second) == (vector(1).tobytes(), vector(2).tobytes())


async def test_a_model_that_gives_back_its_inputs_gives_answers_that_stay(executor: Make) -> None:
    made = executor(lambda values: values, most=1)
    [first] = await run(made, job(vector(1)))
    for row in range(2, 7):
        await run(made, job(vector(row)))
    assert isinstance(first, list)
    assert first[0].tolist() == [[1, 1]]


async def test_an_answer_that_cannot_be_encoded_fails_alone(executor: Make) -> None:
    def broken(outputs: Outputs) -> bytes:
        raise TypeError("secret")

    jobs = [job(vector(1), encode=encode), job(vector(2), encode=broken), job(vector(3))]
    first, second, third = await run(executor(lambda values: values), *jobs)
    assert first == vector(1).tobytes()
    assert isinstance(second, errors.ModelError)
    assert isinstance(third, list)


async def test_a_model_that_spoils_its_inputs_and_raises_is_not_asked_again_with_them(
    thread: ModelThread, fatal: list[str]
) -> None:
    calls = [0]

    def spoils(values: list[torch.Tensor]) -> list[torch.Tensor]:
        calls[0] += 1
        values[0].mul_(10)
        if (values[0] < 0).any():
            raise errors.InvalidInput("about one of them")
        return values

    made = executors(thread, fatal)(spoils)
    spoiled = await run(made, job(vector(1)), job(vector(-2)))
    assert [type(outcome) for outcome in spoiled] == [errors.ModelError] * 2
    assert calls == [1]
    good, bad = await run(made, job(vector(1)), job(vector(-2)))  # by now it is given copies
    assert isinstance(good, list)
    assert good[0].tolist() == [[10, 10]]
    assert isinstance(bad, errors.InvalidInput)


async def test_rows_are_free_again_when_a_batch_is_done_and_not_before(thread: ModelThread, fatal: list[str]) -> None:
    slow = Slow()
    made = executors(thread, fatal)(slow, most=1)
    jobs = [job(vector(row)) for row in range(4)]
    running = launch(made, jobs[0])
    for waiting in jobs[1:]:
        made.write(waiting)
    assert [one.slot for one in jobs] == [None, 1, 2, 3]  # the first is the batch's now
    made.free(jobs[0])  # its caller is gone: too late
    crowded = [job(vector(9)), job(vector(9))]
    made.write(crowded[0])
    made.free(jobs[2])
    made.write(crowded[1])
    assert [(one.slot, len(one.inputs)) for one in crowded] == [(None, 1), (2, 0)]
    slow.wait()
    slow.answers[0].set_result([torch.zeros(1, 2)])
    await running
    last = job(vector(5))
    made.write(last)
    assert last.slot == 0
