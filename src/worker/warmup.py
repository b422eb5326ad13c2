"""Before the first caller: run the model with made-up inputs, learn what that takes, prove that its signature holds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from statistics import median

import numpy as np

from ..errors import InvalidInput, ModelLoadFailed, PenstockError
from ..signature import BATCH, Dim, DType, Signature, TensorSpec
from ..tensors import STORAGE, Array
from .engine import Finished, ServiceTimes, buckets
from .executor import Executor
from .job import Job, Outputs, StreamJob
from .loaded import Loaded

log = logging.getLogger("penstock.worker")

_FREE_SIZE = 8
"""What an unbounded free dimension is taken to be."""
PATIENCE = 2.0
"""Seconds after which only what must be run is run."""
_RUNS = 5
"""Of each size, as far as there is time."""


def sample(signature: Signature, rows: int) -> list[Array]:
    """Inputs of zeros, or of empty BYTES, that fit the signature."""
    return [_zeros(spec, _shape(spec, rows)) for spec in signature.inputs]


def _zeros(spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    return np.full(shape, b"", object) if spec.dtype is DType.BYTES else np.zeros(shape, STORAGE[spec.dtype])


def _shape(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    return tuple(rows if isinstance(d, Dim) and d.name == BATCH else _size(d) for d in spec.shape)


def _size(dim: int | Dim) -> int:
    if isinstance(dim, int):
        return dim
    size = max(dim.minimum, _FREE_SIZE)
    return size if dim.maximum is None else min(size, dim.maximum)


async def warm_up(
    executor: Executor, loaded: Loaded, max_batch_size: int, times: ServiceTimes, patience: float = PATIENCE
) -> None:
    """Run batches of several sizes, so that no caller pays for first-time work, and note how long they take.

    The smallest and the greatest are always run, the others as long as `patience` seconds are not over.

    Raises:
        ModelLoadFailed: the model cannot answer.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    greatest = max_batch_size if loaded.signature.batch else 1
    for rows in sorted(buckets(greatest), key=lambda rows: (rows not in (1, greatest), rows)):
        if rows in (1, greatest) or loop.time() < until:
            outputs, _ = await _forward(executor, loaded, rows)  # not measured: first-time work is in it
            if outputs is not None:  # how long a refusal takes says nothing of an answer
                times.learn(rows, await _seconds(executor, loaded, rows, until))


async def _seconds(executor: Executor, loaded: Loaded, rows: int, until: float) -> float:
    """What a batch takes: the median of some, or of one where there is no more time."""
    measured = [(await _forward(executor, loaded, rows))[1]]
    while len(measured) < _RUNS and asyncio.get_running_loop().time() < until:
        measured.append((await _forward(executor, loaded, rows))[1])
    return median(measured)


async def prove(executor: Executor, loaded: Loaded) -> None:
    """One real forward, whose answer must be what the signature says.

    A model that refuses zeros with InvalidInput, or as a generator has no answer for them, is believed.

    Raises:
        ModelLoadFailed: it cannot answer, or an output has another dtype or shape.
    """
    outputs, _ = await _forward(executor, loaded, 1)
    if outputs is None:
        log.warning("the model gives no answer to zeros: what it gives is not compared with its signature")
        return
    for spec, array in zip(loaded.signature.outputs, outputs, strict=True):
        fits = len(array.shape) == len(spec.shape) and all(
            isinstance(wanted, Dim) or size == wanted for size, wanted in zip(array.shape, spec.shape, strict=True)
        )
        if not fits or array.dtype != STORAGE[spec.dtype]:
            got = f"{array.dtype}{list(array.shape)}"
            raise ModelLoadFailed(f"output {spec.name!r} should be {spec}, and the model gave {got}")


async def _forward(executor: Executor, loaded: Loaded, rows: int) -> tuple[Outputs | None, float]:
    """The answer, or the first of several, and the seconds that it took; None if there is none and that is no mistake.

    The rows are written to where callers' rows will be, so that their memory is warm, too.
    """
    kind = StreamJob if loaded.stream else Job
    batched = bool(loaded.signature.batch)
    job = kind(sample(loaded.signature, rows), rows if batched else 1, None, float("inf"), batched=batched)
    executor.write(job)
    running = _launched(executor, job)
    try:
        outputs = await _first(job) if isinstance(job, StreamJob) else None
    finally:
        job.abandoned = True  # one answer is enough: some generators have no last one
        finished = await running
    [outcome] = finished.outcomes
    error = outcome if isinstance(outcome, PenstockError) else None
    if isinstance(error, InvalidInput):
        return None, finished.seconds
    if error is not None:
        text = f"the model cannot answer {rows} rows of zeros ({error.reason}); the worker's log has the cause"
        raise ModelLoadFailed(text) from error
    assert not isinstance(outcome, (bytes, PenstockError))
    return outputs or outcome, finished.seconds


def _launched(executor: Executor, job: Job) -> asyncio.Future[Finished]:
    """Resolved when the executor is done with the job, which then has its outcome."""
    finished: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()

    def done(result: Finished) -> None:
        job.settle(result.outcomes[0])
        if not finished.done():
            finished.set_result(result)

    executor.launch([job], done)
    return finished


async def _first(job: StreamJob) -> Outputs | None:
    async with contextlib.aclosing(job.answers()) as answers:
        with contextlib.suppress(PenstockError):  # it is in the outcome, too
            return await anext(answers, None)
    return None
