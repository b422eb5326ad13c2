from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from penstock.errors import InvalidInput, ModelLoadFailed
from penstock.signature import Dim, Signature, TensorSpec
from penstock.worker.engine import ServiceTimes
from penstock.worker.executor import Executor
from penstock.worker.loaded import Loaded
from penstock.worker.model_thread import ModelThread
from penstock.worker.samples import sample
from penstock.worker.warmup import prove, warm_up

from .conftest import DOUBLED, VECTOR, signature

Check = Callable[..., Any]


@pytest.fixture
def check(thread: ModelThread) -> Check:
    """Warms up and proves a model as a worker does."""

    async def make(
        run: Callable[[Any], Any], spec: Signature = DOUBLED, most: int = 8, patience: float = 20, **more: Any
    ) -> ServiceTimes:
        loaded, times = Loaded(spec, run, **more), ServiceTimes()
        made = Executor(loaded, "cpu", most, thread, lambda: None)
        await warm_up(made, loaded, most, times, patience)
        await prove(made, loaded)
        return times

    return make


async def test_the_smallest_and_the_greatest_batch_are_run_first_others_while_there_is_time(check: Check) -> None:
    seen: list[int] = []

    def model(values: list[torch.Tensor]) -> list[torch.Tensor]:
        seen.append(len(values[0]))
        return values

    times = await check(model)
    sizes = [size for size, _ in itertools.groupby(seen)]
    assert sizes == [1, 8, 2, 3, 4, 6, 1]
    assert all(times.predict(rows) > 0 for rows in range(1, 9))


async def test_a_slow_model_is_run_with_the_smallest_and_the_greatest_batch_only(check: Check) -> None:
    seen: list[int] = []

    def model(values: list[torch.Tensor]) -> list[torch.Tensor]:
        seen.append(len(values[0]))
        return values

    await check(model, patience=0)
    assert seen == [1, 1, 8, 8, 1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x.double(), r"output 'y' should be FP32\[batch, 2\], and the model gave float64\[1, 2\]"),
        (lambda x: x.long(), r"int64\[1, 2\]"),
        (lambda x: x[:, :1], r"float32\[1, 1\]"),
        (lambda x: x[:, 0], r"float32\[1\]"),
        (lambda x: x[None].transpose(0, 1), r"float32\[1, 1, 2\]"),
    ],
    ids=["dtype", "integer", "shape", "rank", "one more"],
)
async def test_an_answer_that_is_not_what_the_signature_says_is_refused(
    check: Check, answer: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        await check(lambda values: [answer(values[0])])


async def test_a_model_that_raises_is_refused_without_its_words(check: Check) -> None:
    with pytest.raises(ModelLoadFailed, match=r"cannot answer 1 rows of zeros \(MODEL_ERROR\)") as caught:
        await check(lambda values: [values[0] @ torch.zeros(7)])
    assert "mat" not in str(caught.value)


async def test_a_model_that_cannot_take_the_greatest_batch_is_refused(check: Check) -> None:
    def small(values: list[torch.Tensor]) -> list[torch.Tensor]:
        if len(values[0]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return values

    with pytest.raises(ModelLoadFailed, match=r"8 rows of zeros \(GPU_OUT_OF_MEMORY\)"):
        await check(small)


async def test_a_model_that_refuses_zeros_is_believed(check: Check) -> None:
    def picky(values: list[torch.Tensor]) -> list[torch.Tensor]:
        raise InvalidInput("must not be zero")

    await check(picky)


def count(numbers: Any) -> Callable[[list[torch.Tensor]], Iterator[list[torch.Tensor]]]:
    def stream(values: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        for number in numbers:
            yield [values[0] + number]

    return stream


@pytest.mark.parametrize("numbers", [range(3), range(1000), itertools.count(), []], ids=["3", "1000", "endless", "0"])
async def test_a_generator_is_asked_for_its_first_answer_only(check: Check, numbers: Any) -> None:
    await check(lambda values: values, stream=count(numbers))


async def test_a_generator_with_a_wrong_answer_is_refused(check: Check) -> None:
    with pytest.raises(ModelLoadFailed, match="int64"):
        await check(lambda values: values, stream=lambda values: iter([[values[0].long()]]))


async def test_bytes_are_warmed_up_with_empty_ones(check: Check) -> None:
    spec = signature({"t": TensorSpec("BYTES", ["batch"])}, {"n": TensorSpec("INT64", ["batch"])})
    await check(lambda values: [np.array([len(t.decode()) for t in values[0]])], spec)


def test_samples_keep_to_the_bounds_of_free_dimensions() -> None:
    specs = {
        "a": TensorSpec("INT64", ["batch", Dim("length")]),
        "b": TensorSpec("FP32", ["batch", Dim("length", 20), 3]),
        "c": TensorSpec("BOOL", ["batch", Dim("length", 1, 4)]),
    }
    shapes = [array.shape for array in sample(signature(specs, VECTOR), 5)]
    assert shapes == [(5, 8), (5, 20, 3), (5, 4)]
