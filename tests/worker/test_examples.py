"""A version's examples against its signature, and the model against its golden example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from penstock.errors import InvalidInput, ModelLoadFailed
from penstock.signature import TensorSpec
from penstock.v1 import model_pb2
from penstock.worker.engine import ServiceTimes
from penstock.worker.examples import Golden, read_examples
from penstock.worker.executor import Executor
from penstock.worker.loaded import Loaded
from penstock.worker.model_thread import ModelThread
from penstock.worker.warmup import prove, prove_golden, warm_up

from .conftest import DOUBLED, signature

X = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
PUBLISHED = model_pb2.Examples(golden="golden.npz", warm_up="warm.npz")
GOLDEN = model_pb2.Examples(golden="golden.npz")


def save(path: Path, inputs: Any, outputs: Any) -> None:
    arrays = {f"input.{name}": array for name, array in inputs.items()}
    np.savez(path, **arrays, **{f"output.{name}": array for name, array in outputs.items()})


def test_without_warm_up_inputs_those_of_the_golden_example_are_used(tmp_path: Path) -> None:
    save(tmp_path / "golden.npz", {"x": X}, {"y": X * 2})
    save(tmp_path / "warm.npz", {"x": X + 1}, {})
    found = read_examples(tmp_path, GOLDEN, DOUBLED)
    assert found.samples.rows(4)[0].tolist() == [[1, 2], [3, 4], [5, 6], [1, 2]]
    assert not found.samples.made
    assert read_examples(tmp_path, PUBLISHED, DOUBLED).samples.rows(1)[0].tolist() == [[2, 3]]
    assert read_examples(tmp_path, model_pb2.Examples(), DOUBLED).samples.rows(1)[0].tolist() == [[0, 0]]


def test_tolerances_that_are_not_published_are_those_of_the_type(tmp_path: Path) -> None:
    save(tmp_path / "golden.npz", {"x": X}, {"y": X * 2})
    given = model_pb2.Examples(golden="golden.npz", rtol=0.0)
    both = [read_examples(tmp_path, published, DOUBLED).tolerance for published in (GOLDEN, given)]
    assert [(one.rtol, one.atol) for one in both] == [(None, None), (0.0, None)]


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ({"z": X}, {"y": X}, "the golden example: unknown input 'z'; the model takes 'x'"),
        ({"x": X[:, :1]}, {"y": X}, r"input 'x' takes FP32\[batch, 2\], got \[3, 1\]"),
        ({"x": X.astype(np.float64)}, {"y": X}, "input 'x': dtype: FP32 is wanted, and these are float64"),
        ({"x": X}, {"z": X}, "has the outputs 'z', and the model 'y'"),
        ({"x": X}, {"y": X, "z": X}, "has the outputs 'y', 'z', and the model 'y'"),
        ({"x": X}, {"y": X.astype(np.int64)}, "output 'y': dtype: FP32 is wanted, and these are int64"),
    ],
)
def test_an_example_that_does_not_fit_the_signature_is_refused(
    tmp_path: Path, inputs: Any, outputs: Any, said: str
) -> None:
    save(tmp_path / "golden.npz", inputs, outputs)
    with pytest.raises(ModelLoadFailed, match=said):
        read_examples(tmp_path, GOLDEN, DOUBLED)


def test_warm_up_inputs_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "warm.npz").write_bytes(b"nothing")
    with pytest.raises(ModelLoadFailed, match=r"the warm-up inputs: warm\.npz cannot be read"):
        read_examples(tmp_path, model_pb2.Examples(warm_up="warm.npz"), DOUBLED)


Check = Callable[..., Any]


@pytest.fixture
def check(thread: ModelThread, tmp_path: Path) -> Check:
    """Does with a model and a golden example what a worker does."""

    async def make(run: Any, expected: Any, most: int = 8, x: Any = X, spec: Any = DOUBLED, **more: Any) -> Any:
        save(tmp_path / "golden.npz", {"x": x}, {"y": expected})
        loaded, times = Loaded(spec, run, **more), ServiceTimes()
        found = read_examples(tmp_path, GOLDEN, spec)
        assert isinstance(found.golden, Golden)
        made = Executor(loaded, "cpu", most, thread, lambda: None)
        await warm_up(made, loaded, most, times, 0, found.samples)
        await prove(made, loaded, found.samples)
        await prove_golden(made, loaded, found.golden, found.tolerance, most)

    return make


@pytest.mark.parametrize("most", [1, 2, 8])
async def test_an_answer_that_is_right_passes_however_many_rows_run_together(check: Check, most: int) -> None:
    await check(lambda values: [values[0] * 2], X * 2, most)


async def test_an_answer_that_is_wrong_fails_the_load_and_says_where(check: Check) -> None:
    with pytest.raises(ModelLoadFailed) as caught:
        await check(lambda values: [values[0] * 2.5], X * 2)
    assert caught.value.message == (
        "the golden example is answered wrongly: output 'y' differs in 6 of 6 elements: at most by 3 at [2, 1] "
        "(15 instead of 12), relatively by 0.25 at [0, 0] (2.5 instead of 2); allowed are rtol 0.001, atol 0.0001"
    )


async def test_weights_of_another_element_type_fail_the_load(check: Check) -> None:
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 2)).astype(np.float32))
    await check(lambda values: [values[0] @ weights], x @ weights.numpy(), x=x)
    with pytest.raises(ModelLoadFailed, match="output 'y' differs in"):
        await check(lambda values: [(values[0].bfloat16() @ weights.bfloat16()).float()], x @ weights.numpy(), x=x)


async def test_rows_that_look_at_each_other_are_asked_together(check: Check) -> None:
    mean = np.broadcast_to(X.mean(0), X.shape)
    await check(lambda values: [values[0].mean(0).expand(len(values[0]), 2)], mean)
    with pytest.raises(ModelLoadFailed, match="answered wrongly"):
        await check(lambda values: [values[0].mean(0).expand(len(values[0]), 2)], mean, most=2)


async def test_inputs_that_were_published_must_not_be_refused(check: Check) -> None:
    def picky(values: Any) -> Any:
        raise InvalidInput("must be zero")

    with pytest.raises(ModelLoadFailed, match=r"1 rows of the inputs that were published with it \(INVALID_INPUT\)"):
        await check(picky, X * 2)


async def test_a_generator_is_compared_by_its_first_answer(check: Check) -> None:
    def stream(values: Any) -> Any:
        yield [values[0] * 2]
        yield [values[0] * 3]

    await check(lambda values: values, X * 2, stream=stream)
    with pytest.raises(ModelLoadFailed, match="answered wrongly"):
        await check(lambda values: values, X * 3, stream=stream)


async def test_a_generator_that_answers_nothing_fails_the_load(check: Check) -> None:
    with pytest.raises(ModelLoadFailed, match="no answer"):
        await check(lambda values: values, X * 2, stream=lambda values: iter([]))


async def test_a_model_without_a_batch_dimension_is_asked_once(check: Check) -> None:
    fixed = {name: TensorSpec("FP32", [3, 2]) for name in ("x", "y")}
    spec = signature({"x": fixed["x"]}, {"y": fixed["y"]}, "")
    await check(lambda values: [values[0] * 2], X * 2, most=1, spec=spec)


async def test_the_model_is_warmed_up_with_what_was_published(check: Check) -> None:
    seen: list[float] = []

    def model(values: Any) -> Any:
        seen.append(float(values[0].abs().min()))
        return [values[0] * 2]

    await check(model, X * 2)
    assert min(seen) == 1
