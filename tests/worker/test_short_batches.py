"""A batch that is known to be short is not worth the way to another thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from penstock import errors
from penstock.worker.executor import Executor
from penstock.worker.loaded import Loaded
from penstock.worker.model_thread import ModelThread

from .conftest import DOUBLED, job, launch, run

SHORT, LONG, UNKNOWN = 1e-4, 1.0, 0.0


class Noting:
    """Doubles, and notes who called."""

    def __init__(self) -> None:
        self.called_by: list[str] = []

    def __call__(self, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        self.called_by.append(threading.current_thread().name)
        if (values[0] < 0).any():
            raise ValueError("negative")
        return [values[0] * 2]


def made(thread: ModelThread, model: Any, seconds: float, **more: Any) -> Executor:
    loaded = replace(Loaded(DOUBLED, model), **more)
    return Executor(loaded, "cpu", 8, thread, lambda: None, expected=lambda rows: seconds)


@pytest.mark.parametrize(
    ("seconds", "more", "who"),
    [
        pytest.param(SHORT, {}, "MainThread", id="a short one is run at once"),
        pytest.param(LONG, {}, "model", id="a long one must not hold up the event loop"),
        pytest.param(UNKNOWN, {}, "model", id="and one of which nothing is known might"),
        pytest.param(SHORT, {"own_thread": True}, "model", id="some models want their own thread"),
    ],
)
async def test_who_runs_a_batch(thread: ModelThread, seconds: float, more: dict[str, Any], who: str) -> None:
    model = Noting()
    [answer] = await run(made(thread, model, seconds, **more), job(np.ones((1, 2), np.float32)))
    assert isinstance(answer, list)
    assert (answer[0].tolist(), model.called_by) == ([[2, 2]], [who])


async def test_a_model_is_never_called_by_two_at_once(thread: ModelThread) -> None:
    model, seconds = Noting(), [LONG, SHORT, SHORT]
    executor = Executor(Loaded(DOUBLED, model), "cpu", 8, thread, lambda: None, expected=lambda rows: seconds.pop(0))
    first = launch(executor, job(np.ones((1, 2), np.float32)))
    await launch(executor, job(np.ones((1, 2), np.float32)))
    assert first.done()
    await launch(executor, job(np.ones((1, 2), np.float32)))
    assert model.called_by == ["model", "model", "MainThread"]


async def test_of_a_short_batch_too_only_the_requests_at_fault_fail(thread: ModelThread) -> None:
    jobs = [job(np.full((1, 2), value, np.float32)) for value in (1, -1, 3)]
    good, bad, other = await run(made(thread, Noting(), SHORT), *jobs)
    assert isinstance(bad, errors.ModelError)
    assert [outcome[0].tolist() for outcome in (good, other) if isinstance(outcome, list)] == [[[2, 2]], [[6, 6]]]


async def test_the_answer_of_a_short_batch_comes_after_launch_has_returned(thread: ModelThread) -> None:
    finished = launch(made(thread, Noting(), SHORT), job(np.ones((1, 2), np.float32)))
    assert not finished.done()
    await finished
