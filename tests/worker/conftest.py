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
from penstock.worker.engine import Finished
from penstock.worker.execution.transfer import Arrival
from penstock.worker.executor import Executor
from penstock.worker.job import Job, Outcome, Outputs
from penstock.worker.loaded import Loaded
from penstock.worker.model_thread import ModelThread


def signature(inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec], batch: str = "batch") -> Signature:
    def named(specs: dict[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(spec.dtype, spec.shape, name) for name, spec in specs.items())

    return Signature(named(inputs), named(outputs), batch)


VECTOR = {"x": TensorSpec("FP32", ["batch", 2])}
DOUBLED = signature(VECTOR, {"y": TensorSpec("FP32", ["batch", 2])})


def job(*inputs: Array, kind: type[Job] = Job, encode: Callable[[Outputs], bytes] | None = None) -> Job:
    made = kind(list(inputs), len(inputs[0]), None, math.inf)
    made.encode = encode
    return made


def fails(error: BaseException) -> Any:
    """A model that raises."""

    def model(*values: Any) -> Any:
        raise error

    return model


def launch(executor: Executor, *jobs: Job) -> asyncio.Future[Finished]:
    """Do what the engine does with one batch."""
    finished: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()

    def done(result: Finished) -> None:
        for one, outcome in zip(jobs, result.outcomes, strict=True):
            one.settle(outcome)
        finished.set_result(result)

    for one in jobs:
        executor.write(one)
    executor.launch(jobs, done)
    return finished


async def run(executor: Executor, *jobs: Job) -> Sequence[Outcome]:
    """What comes of one batch."""
    return (await launch(executor, *jobs)).outcomes


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
    """Gets an entry when an executor calls its device lost."""
    return []


class NoRoom(Executor):
    """Its row store is always full: rows are copied when they run."""

    def write(self, job: Job) -> None:
        pass


class Elsewhere:
    """A device with memory of its own, which works on its own."""

    asynchronous = True
    pinned = False

    def __init__(self) -> None:
        self.arriving: Callable[[], None] = lambda: None
        """Called when an answer is waited for, before it is there."""
        self.freed = 0

    def up(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone()

    def down(self, values: Sequence[Any]) -> Arrival:
        def wait() -> Sequence[Any]:
            self.arriving()
            return values

        return wait

    def free_memory(self) -> None:
        self.freed += 1


def executors(thread: ModelThread, fatal: list[str], kind: str = "cpu") -> Callable[..., Executor]:
    """Makes them: `cpu`, `no room` or `elsewhere`."""

    def make(
        run: Callable[[Sequence[Any]], Any],
        signature: Signature = DOUBLED,
        most: int = 8,
        padding: Any = None,
        **more: Any,
    ) -> Executor:
        cls, transfer = NoRoom if kind == "no room" else Executor, Elsewhere() if kind == "elsewhere" else None
        loaded = Loaded(signature, run, **more).padded(padding)
        return cls(loaded, "cpu", most, thread, lambda: fatal.append("lost"), transfer)

    return make


@pytest.fixture
def executor(thread: ModelThread, fatal: list[str]) -> Callable[..., Executor]:
    return executors(thread, fatal)


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
