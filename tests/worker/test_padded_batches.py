from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from penstock import errors
from penstock.servable import Padding
from penstock.signature import Signature, TensorSpec
from penstock.worker.executor import Executor
from penstock.worker.model_thread import ModelThread

from .conftest import Model, executors, job, launch, run, signature

Make = Callable[..., Executor]
TEXT = signature(
    {"ids": TensorSpec("INT64", ["batch", "length"]), "mask": TensorSpec("BOOL", ["batch", "length"])},
    {"each": TensorSpec("INT64", ["batch", "length"]), "mean": TensorSpec("FP32", ["batch"])},
)
PADDING = Padding(value=9, masks={"ids": "mask"})


@pytest.fixture(params=["cpu", "elsewhere"])
def executor(request: pytest.FixtureRequest, thread: ModelThread, fatal: list[str]) -> Make:
    return executors(thread, fatal, request.param)


def mean(ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    return [ids * 2, (ids * mask).sum(1) / mask.sum(1)]


def ids(*values: int, rows: int = 1) -> Any:
    return np.array([values] * rows, np.int64)


async def test_requests_of_different_lengths_run_once_and_each_gets_what_it_would_get_alone(executor: Make) -> None:
    model = Model(mean)
    made = executor(model, TEXT, padding=PADDING)
    together: list[Any] = list(await run(made, job(ids(1, 2, 3)), job(ids(4, rows=2)), job(ids(5, 6))))
    assert model.calls == 1
    assert [outputs[0].tolist() for outputs in together] == [[[2, 4, 6]], [[8], [8]], [[10, 12]]]
    assert [outputs[1].tolist() for outputs in together] == [[2], [4, 4], [5.5]]


async def test_the_model_sees_what_is_filled_in_and_which_it_is(executor: Make) -> None:
    seen: list[Any] = []

    def model(ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        seen.extend([ids.tolist(), mask.tolist()])
        return mean(ids, mask)

    made = executor(Model(model), TEXT, padding=PADDING, min_rows=3)
    finished = await launch(made, job(ids(1, 2, 3)), job(ids(4)))
    assert seen[0] == [[1, 2, 3], [4, 9, 9], [4, 9, 9]]
    assert seen[1] == [[True, True, True], [True, False, False], [True, False, False]]
    assert (finished.elements, finished.padded) == (6, 2)


async def test_a_bucket_is_filled_up_and_counted(executor: Make) -> None:
    made = executor(Model(mean), TEXT, padding=Padding(masks={"ids": "mask"}, buckets=(4, 8)))
    finished = await launch(made, job(ids(1, 2, 3)))
    assert (finished.elements, finished.padded) == (4, 1)
    [outputs] = finished.outcomes
    assert isinstance(outputs, list)
    assert outputs[0].tolist() == [[2, 4, 6]]


async def test_a_request_at_fault_fails_alone_and_the_others_are_filled_up_without_it(executor: Make) -> None:
    widths: list[int] = []

    def picky(ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        widths.append(ids.shape[1])
        if (ids < 0).any():
            raise errors.InvalidInput("negative")
        return mean(ids, mask)

    made = executor(Model(picky), TEXT, padding=PADDING)
    good, bad = await run(made, job(ids(1)), job(ids(2, 2, -1)))
    assert isinstance(good, list)
    assert good[0].tolist() == [[2]]
    assert isinstance(bad, errors.InvalidInput)
    assert widths == [3, 1, 3]


async def test_an_output_that_cannot_be_cut_back_is_the_model_s_mistake(executor: Make) -> None:
    made = executor(Model(lambda ids, mask: [ids[:, :-1], mask.sum(1).float()]), TEXT, padding=PADDING)
    [outcome] = await run(made, job(ids(1, 2)))
    assert isinstance(outcome, errors.ModelError)


@pytest.mark.parametrize(
    ("dtype", "storage", "value", "filled"),
    [
        ("BF16", np.uint16, -2, 0xC000),
        ("FP16", np.float16, 0.5, 0.5),
        ("INT64", np.int64, 2**40, 2**40),
        ("BYTES", object, 0, b""),
        ("BOOL", np.bool_, 1, True),
    ],
)
async def test_every_type_is_filled_up_with_its_own_kind(
    executor: Make, dtype: str, storage: Any, value: float, filled: object
) -> None:
    spec: Signature = signature(
        {"x": TensorSpec(dtype, ["batch", "length"])}, {"y": TensorSpec(dtype, ["batch", "cells"])}
    )
    made = executor(lambda values: values, spec, padding=Padding(value=value))
    short, long = (np.zeros((1, length), storage) for length in (1, 2))
    if dtype == "BYTES":
        short[:] = long[:] = b"text"
    first, _ = await run(made, job(short), job(long))
    assert isinstance(first, list)
    assert first[0][0, 1] == filled
