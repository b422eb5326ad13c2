"""Models small enough to be checked by hand, and the thread that runs them."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from penstock.signature import Signature, TensorSpec
from penstock.tensors import Array
from penstock.worker.instance import Instance
from penstock.worker.job import Job, Outputs
from penstock.worker.loaded import Loaded
from penstock.worker.model_thread import ModelThread


def signature(inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec], batch: str = "batch") -> Signature:
    def named(specs: dict[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(spec.dtype, spec.shape, name) for name, spec in specs.items())

    return Signature(named(inputs), named(outputs), batch)


VECTOR = {"x": TensorSpec("FP32", ["batch", 2])}
DOUBLED = signature(VECTOR, {"y": TensorSpec("FP32", ["batch", 2])})


def job(*inputs: Array, kind: type[Job] = Job) -> Job:
    return kind(list(inputs), len(inputs[0]), None, math.inf)


def fails(error: BaseException) -> Any:
    """A model that raises."""

    def model(*values: Any) -> Any:
        raise error

    return model


async def run(instance: Instance, *jobs: Job) -> list[Outputs | BaseException]:
    """One batch."""
    await instance.run(jobs)
    return await asyncio.gather(*(one.answer() for one in jobs), return_exceptions=True)


class Model:
    """Counts its calls; does what it is given."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.calls = 0

    def __call__(self, values: Sequence[Any]) -> Any:
        self.calls += 1
        return self._function(*values)


@pytest.fixture
async def thread() -> Any:
    made = ModelThread()
    yield made
    made.close()


@pytest.fixture
def fatal() -> list[str]:
    """Gets an entry when an instance calls its device lost."""
    return []


@pytest.fixture
def instance(thread: ModelThread, fatal: list[str]) -> Callable[..., Instance]:
    def make(run: Callable[[Sequence[Any]], Any], signature: Signature = DOUBLED, **more: Any) -> Instance:
        return Instance(Loaded(signature, run, **more), "cpu", lambda: fatal.append("lost"), thread)

    return make


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Workers and servables change their process; here it lives on."""
    torch.manual_seed(0)
    interval, threads, path, modules = (
        sys.getswitchinterval(),
        torch.get_num_threads(),
        list(sys.path),
        set(sys.modules),
    )
    yield
    gc.unfreeze()
    sys.setswitchinterval(interval)
    torch.set_num_threads(threads)
    sys.path[:] = path
    for name in {"scale", "weighted", "servable_json", "helper_beside", "helper_deeper"} - modules:
        sys.modules.pop(name, None)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes files into a version's folder; returns the folder."""

    def make(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        return tmp_path

    return make
