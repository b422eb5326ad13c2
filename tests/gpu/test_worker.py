from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.export import Dim

from penstock import errors
from penstock.worker.device import resolve_device
from penstock.worker.instance import Instance
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


async def ready(loaded: Loaded, device: str, thread: ModelThread) -> Instance:
    made = Instance(loaded, device, lambda: None, thread)
    await warm_up(made, loaded, 64)
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
        jobs = [job(x[at : at + 3]) for at in range(0, 33, 3)]
        await made.run(jobs)
        answers.append(np.concatenate([(await one.answer())[0] for one in jobs]))
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-5)


async def test_a_plain_class_is_given_tensors_on_its_device_and_survives_a_full_memory(
    tmp_path: Path, thread: ModelThread
) -> None:
    (tmp_path / "where_gpu.py").write_text(SERVABLE)
    loaded = await thread.call(lambda: load("python", tmp_path, "where_gpu.py:Where", "cuda:0"))
    made = await ready(loaded, "cuda:0", thread)
    half = torch.tensor([1.5], dtype=torch.bfloat16).view(torch.uint16).numpy()
    good, greedy = (job(np.full((1, 4), value, np.float32), half) for value in (2.0, 2e6))
    await made.run([good, greedy])
    y, h = await good.answer()
    assert y.tolist() == [[6.0] * 4]
    assert torch.from_numpy(h.copy()).view(torch.bfloat16).tolist() == [3.0]
    with pytest.raises(errors.DeviceOutOfMemory):
        await greedy.answer()


def test_instances_are_spread_over_all_gpus() -> None:
    gpus = torch.cuda.device_count()
    chosen = [resolve_device("auto", index) for index in range(2 * gpus)]
    assert chosen == [f"cuda:{index}" for index in range(gpus)] * 2
    assert resolve_device("cuda", gpus) == "cuda:0"


def test_a_gpu_beyond_the_last_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(errors.ModelLoadFailed, match="there are: cpu, cuda:0"):
        resolve_device(f"cuda:{torch.cuda.device_count()}", 0)
