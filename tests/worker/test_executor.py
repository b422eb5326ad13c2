from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from penstock import errors
from penstock.signature import TensorSpec
from penstock.worker.executor import Executor
from penstock.worker.model_thread import ModelThread

from .conftest import DOUBLED, VECTOR, Model, executors, fails, job, launch, run, signature

Make = Callable[..., Executor]


@pytest.fixture(params=["cpu", "no room", "elsewhere"])
def executor(request: pytest.FixtureRequest, thread: ModelThread, fatal: list[str]) -> Make:
    return executors(thread, fatal, request.param)


def vector(*rows: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([[row, row] for row in rows], np.float32)


async def test_rows_are_joined_run_once_and_cut_apart(executor: Make) -> None:
    model = Model(lambda x: [x * 2])
    made = executor(model)
    outcomes: Any = await run(made, job(vector(1)), job(vector(2, 3)), job(vector(4)))
    assert [outputs[0].tolist() for outputs in outcomes] == [[[2, 2]], [[4, 4], [6, 6]], [[8, 8]]]
    assert model.calls == 1


async def test_how_long_a_batch_took_is_told(executor: Make) -> None:
    finished = await launch(executor(lambda values: values), job(vector(1)), job(vector(2, 3)))
    assert finished.device_s is not None
    assert finished.seconds >= finished.device_s > 0


async def test_inputs_of_several_types_are_joined_each_with_its_own_kind(executor: Make) -> None:
    inputs = {
        "ids": TensorSpec("INT64", ["batch", 3]),
        "half": TensorSpec("BF16", ["batch"]),
        "flag": TensorSpec("BOOL", ["batch"]),
        "text": TensorSpec("BYTES", ["batch"]),
    }
    seen: list[tuple[object, ...]] = []

    def model(values: list[Any]) -> list[Any]:
        ids, half, flag, text = values
        seen.append((ids.dtype, half.dtype, flag.dtype, type(text), text.dtype))
        return [ids.sum(1), half * 2, ~flag, np.array([t.upper() for t in text], object)]

    outputs = {"sum": TensorSpec("INT64", ["batch"]), **{n: inputs[n] for n in ("half", "flag", "text")}}
    bf16 = [torch.tensor([v], dtype=torch.bfloat16).view(torch.uint16).numpy() for v in (1.5, -2.0)]
    jobs = [
        job(np.array([[1, 2, 3]]), bf16[0], np.array([True]), np.array([b"a"], object)),
        job(np.array([[4, 5, 6]]), bf16[1], np.array([False]), np.array([b"\xff"], object)),
    ]
    first, second = await run(executor(model, signature(inputs, outputs)), *jobs)
    assert seen == [(torch.int64, torch.bfloat16, torch.bool, np.ndarray, np.dtype(object))]
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert [array.tolist() for array in (first[0], first[2], first[3])] == [[6], [False], [b"A"]]
    assert [array.tolist() for array in (second[0], second[2], second[3])] == [[15], [True], [b"\xff"]]
    halves = torch.tensor([3.0, -4.0], dtype=torch.bfloat16).view(torch.uint16).numpy()
    assert np.concatenate([first[1], second[1]]).tolist() == halves.tolist()


async def test_texts_become_bytes(executor: Make) -> None:
    spec = signature(VECTOR, {"y": TensorSpec("BYTES", ["batch"])})
    [outputs] = await run(executor(lambda values: [np.array(["yes", "no"])], spec), job(vector(1, 2)))
    assert isinstance(outputs, list)
    assert outputs[0].tolist() == [b"yes", b"no"]


@pytest.mark.parametrize("bad", [{0}, {7}, {0, 7}, {3, 4}, set(range(8))])
async def test_only_poisoned_requests_fail_and_few_runs_find_them(executor: Make, bad: set[int]) -> None:
    def poisoned(x: torch.Tensor) -> list[torch.Tensor]:
        if any(row in bad for row in x[:, 0].tolist()):
            raise RuntimeError("secret")
        return [x * 2]

    model = Model(poisoned)
    outcomes = await run(executor(model), *(job(vector(row)) for row in range(8)))
    for row, outcome in enumerate(outcomes):
        if row in bad:
            assert isinstance(outcome, errors.ModelError)
            assert "secret" not in outcome.message
        else:
            assert isinstance(outcome, list)
            assert outcome[0].tolist() == [[2 * row, 2 * row]]
    assert model.calls <= 2 * len(bad) * 3 + 1


async def test_what_a_servable_says_about_an_input_reaches_its_caller_only(executor: Make) -> None:
    def picky(x: torch.Tensor) -> list[torch.Tensor]:
        if (x < 0).any():
            raise errors.InvalidInput(f"{x.min():.0f} is negative")
        return [x]

    outcomes = await run(executor(Model(picky)), *(job(vector(row)) for row in (1, -2, 3, -4)))
    texts = [outcome.message if isinstance(outcome, errors.InvalidInput) else None for outcome in outcomes]
    assert texts == [None, "-2 is negative", None, "-4 is negative"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: [x[:1]],
        lambda x: [torch.cat([x, x])],
        lambda x: [x.sum()],
        fails(ZeroDivisionError()),
        lambda x: [object()],
        fails(SystemExit(1)),
    ],
    ids=["too few rows", "too many rows", "no rows", "an error", "nonsense", "an exit"],
)
async def test_a_model_that_is_wrong_is_a_model_error_and_the_next_batch_runs(
    executor: Make, wrong: Callable[[Any], Any]
) -> None:
    answers: list[Callable[[Any], Any]] = [wrong, lambda x: [x]]
    made = executor(Model(lambda x: answers.pop(0)(x)))
    [outcome] = await run(made, job(vector(1, 2)))
    assert isinstance(outcome, errors.ModelError)
    [after] = await run(made, job(vector(1)))
    assert isinstance(after, list)


async def test_a_batch_too_large_for_the_memory_is_split_and_all_are_answered(executor: Make) -> None:
    def small(x: torch.Tensor) -> list[torch.Tensor]:
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [x * 2]

    outcomes = await run(executor(Model(small)), *(job(vector(row)) for row in range(8)))
    assert [outcome[0][0][0] for outcome in outcomes if isinstance(outcome, list)] == [2.0 * row for row in range(8)]


async def test_a_request_too_large_for_the_memory_fails_alone(executor: Make) -> None:
    def small(x: torch.Tensor) -> list[torch.Tensor]:
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [x * 2]

    outcomes = await run(executor(Model(small)), job(vector(1, 2, 3)), job(vector(1, 2)))
    assert isinstance(outcomes[0], errors.DeviceOutOfMemory)
    assert outcomes[0].reason == "GPU_OUT_OF_MEMORY"
    assert isinstance(outcomes[1], list)


@pytest.mark.parametrize("good", [0, 1])
async def test_a_broken_device_loses_the_whole_batch_and_is_reported_once(
    executor: Make, fatal: list[str], good: int
) -> None:
    def broken(x: torch.Tensor) -> list[torch.Tensor]:
        nonlocal good
        good -= 1
        raise RuntimeError("CUDA error: device-side assert triggered" if good < 0 else "just wrong")

    model = Model(broken)
    outcomes = await run(executor(model), *(job(vector(row)) for row in range(4)))
    assert [type(outcome) for outcome in outcomes] == [errors.WorkerLost] * 4
    assert fatal == ["lost"]
    assert model.calls <= 2


@pytest.mark.parametrize(("rows", "given"), [([1], 4), ([1, 2], 4), ([3, 2], 5)])
async def test_a_batch_below_the_least_rows_is_filled_up(executor: Make, rows: list[int], given: int) -> None:
    seen: list[int] = []

    def model(x: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(x))
        return [x * 2]

    jobs = [job(vector(*range(count))) for count in rows]
    outcomes = await run(executor(Model(model), min_rows=4), *jobs)
    assert [len(outcome[0]) for outcome in outcomes if isinstance(outcome, list)] == rows
    assert seen == [given]


async def test_a_model_runs_on_its_own_thread_without_gradients(executor: Make) -> None:
    seen: list[tuple[str, bool]] = []

    def model(x: torch.Tensor) -> list[torch.Tensor]:
        seen.append((threading.current_thread().name, torch.is_inference_mode_enabled()))
        return [x]

    await run(executor(Model(model), DOUBLED), job(vector(1)))
    assert seen == [("model", True)]


async def test_an_answer_cannot_change_with_the_next_batch(executor: Make) -> None:
    kept = torch.zeros(1, 2)

    def model(x: torch.Tensor) -> list[torch.Tensor]:
        kept.copy_(x)
        return [kept]

    made = executor(Model(model))
    [first] = await run(made, job(vector(1)))
    await run(made, job(vector(2)))
    assert isinstance(first, list)
    assert first[0].tolist() == [[1, 1]]
