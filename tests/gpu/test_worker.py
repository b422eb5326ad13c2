from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.export import Dim

from penstock import errors
from penstock.servable import Padding
from penstock.signature import Signature, TensorSpec
from penstock.worker.device import resolve_device
from penstock.worker.engine import Finished, ServiceTimes
from penstock.worker.execution.rows import RowStore
from penstock.worker.executor import Executor
from penstock.worker.job import Job
from penstock.worker.loaded import Loaded, load
from penstock.worker.model_thread import ModelThread
from penstock.worker.warmup import prove, warm_up

pytestmark = pytest.mark.gpu
SERVABLE = """
import torch
from penstock import Servable, TensorSpec

class Where(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 4]), "h": TensorSpec("BF16", ["batch"])}
    outputs = {"y": TensorSpec("FP32", ["batch", 4]), "h": TensorSpec("BF16", ["batch"])}

    def load(self):
        self.weight = torch.full((4,), 3.0, device=self.device)

    def predict(self, x, h):
        assert x.is_cuda and h.is_cuda
        if bool((x > 1e6).any()):
            torch.empty(2**50, device=self.device)
        return {"y": x * self.weight, "h": h * 2}
"""


@pytest.fixture
async def thread() -> AsyncIterator[ModelThread]:
    made = ModelThread()
    yield made
    made.close()


def job(*inputs: Any) -> Job:
    return Job(list(inputs), len(inputs[0]), None, math.inf)


def launch(executor: Executor, *jobs: Job) -> asyncio.Future[Finished]:
    """Do what the engine does with one batch."""
    finished: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
    for one in jobs:
        executor.write(one)
    executor.launch(jobs, finished.set_result)
    return finished


async def ready(loaded: Loaded, device: str, thread: ModelThread) -> Executor:
    made = await thread.call(lambda: Executor(loaded, device, 64, thread, lambda: None))
    await warm_up(made, loaded, 64, ServiceTimes())
    await prove(made, loaded)
    return made


async def test_a_worker_on_a_gpu_gives_what_the_processor_gives(tmp_path: Path, thread: ModelThread) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)).eval()
    example = (torch.zeros(2, 16),)
    program = torch.export.export(module, example, dynamic_shapes=({0: Dim("batch")},), strict=False)
    torch.export.save(program, tmp_path / "model.pt2")
    x = np.random.default_rng(0).normal(size=(33, 16)).astype(np.float32)
    answers = []
    for device in ("cpu", "cuda:0"):
        made = await ready(load("torch_export", tmp_path, "model.pt2", device), device, thread)
        finished = await launch(made, *(job(x[at : at + 3]) for at in range(0, 33, 3)))
        assert made.asynchronous == (device != "cpu")
        answers.append(np.concatenate([outcome[0] for outcome in finished.outcomes if isinstance(outcome, list)]))
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-5)


async def test_a_plain_class_is_given_tensors_on_its_device_and_survives_a_full_memory(
    tmp_path: Path, thread: ModelThread
) -> None:
    (tmp_path / "where_gpu.py").write_text(SERVABLE)
    loaded = await thread.call(lambda: load("python", tmp_path, "where_gpu.py:Where", "cuda:0"))
    made = await ready(loaded, "cuda:0", thread)
    half = torch.tensor([1.5], dtype=torch.bfloat16).view(torch.uint16).numpy()
    good, greedy = (job(np.full((1, 4), value, np.float32), half) for value in (2.0, 2e6))
    first, second = (await launch(made, good, greedy)).outcomes
    assert isinstance(first, list)
    assert first[0].tolist() == [[6.0] * 4]
    assert torch.from_numpy(first[1].copy()).view(torch.bfloat16).tolist() == [3.0]
    assert isinstance(second, errors.DeviceOutOfMemory)


async def test_two_batches_are_on_the_device_and_rows_of_the_next_are_written_meanwhile(thread: ModelThread) -> None:
    told: list[str] = []
    spec = TensorSpec("FP32", ["batch", 1024], "x")
    sleep: Any = torch.cuda._sleep

    def slow(values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        told.append("given")
        sleep(500_000_000)  # cycles of the GPU: far longer than it takes to launch the next batch
        return [values[0] * 2]

    loaded = Loaded(Signature((spec,), (spec,), "batch"), slow)
    made = await thread.call(lambda: Executor(loaded, "cuda:0", 4, thread, lambda: None))
    batches = [[job(np.full((1, 1024), 10 * batch + row, np.float32)) for row in range(4)] for batch in range(4)]
    running = []
    for batch in batches:
        running.append(launch(made, *batch))
        running[-1].add_done_callback(lambda _: told.append("answered"))
    for number, finished in enumerate(await asyncio.gather(*running)):
        values = [outcome[0][0, -1] for outcome in finished.outcomes if isinstance(outcome, list)]
        assert values == [2 * (10 * number + row) for row in range(4)]
    assert told[:2] == ["given", "given"]


def test_rows_are_kept_in_pinned_memory() -> None:
    store = RowStore([TensorSpec("BF16", ["batch", 3], "x")], 2, pinned=True)
    store.write([np.full((2, 3), 0x3F80, np.uint16)], 2)
    assert store.block.slice(0, 2)[0].is_pinned()
    assert store.block.slice(0, 2)[0].to("cuda:0", non_blocking=True).tolist() == [[1.0] * 3] * 2


async def test_requests_of_different_lengths_are_filled_up_in_pinned_memory(thread: ModelThread) -> None:
    spec = TensorSpec("FP32", ["batch", "length"], "x")
    loaded = Loaded(Signature((spec,), (spec,), "batch"), lambda values: [values[0] + 1]).padded(Padding())
    made = await thread.call(lambda: Executor(loaded, "cuda:0", 4, thread, lambda: None))
    finished = await launch(made, *(job(np.ones((1, length), np.float32)) for length in (3, 1, 2)))
    assert [o[0].tolist() for o in finished.outcomes if isinstance(o, list)] == [[[2.0] * n] for n in (3, 1, 2)]


def test_instances_are_spread_over_all_gpus() -> None:
    gpus = torch.cuda.device_count()
    chosen = [resolve_device("auto", index) for index in range(2 * gpus)]
    assert chosen == [f"cuda:{index}" for index in range(gpus)] * 2
    assert resolve_device("cuda", gpus) == "cuda:0"


def test_a_gpu_beyond_the_last_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(errors.ModelLoadFailed, match="there are: cpu, cuda:0"):
        resolve_device(f"cuda:{torch.cuda.device_count()}", 0)
