"""Before the first caller: run the model with made-up inputs, and prove that it gives what its signature says."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import numpy as np

from ..errors import InvalidInput, ModelLoadFailed, PenstockError
from ..signature import BATCH, Dim, DType, Signature, TensorSpec
from ..tensors import STORAGE, Array
from .instance import Instance
from .job import Job, Outputs, StreamJob
from .loaded import Loaded

log = logging.getLogger("penstock.worker")

_FREE_SIZE = 8
"""What an unbounded free dimension is taken to be."""


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


async def warm_up(instance: Instance, loaded: Loaded, max_batch_size: int) -> None:
    """Run the smallest and the greatest batch, so that no caller pays for first-time work.

    Raises:
        ModelLoadFailed: the model cannot answer.
    """
    sizes = {1, max_batch_size} if loaded.signature.batch else {1}
    for rows in sorted(sizes):
        await _forward(instance, loaded, rows)


async def prove(instance: Instance, loaded: Loaded) -> None:
    """One real forward, whose answer must be what the signature says.

    A model that refuses zeros with InvalidInput, or as a generator has no answer for them, is believed.

    Raises:
        ModelLoadFailed: it cannot answer, or an output has another dtype or shape.
    """
    outputs = await _forward(instance, loaded, 1)
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


async def _forward(instance: Instance, loaded: Loaded, rows: int) -> Outputs | None:
    """The answer, or the first of several; None if there is none and that is no mistake."""
    kind = StreamJob if loaded.stream else Job
    batched = bool(loaded.signature.batch)
    job = kind(sample(loaded.signature, rows), rows if batched else 1, None, float("inf"), batched=batched)
    running = asyncio.create_task(instance.run([job]))
    try:
        return await _first(job)
    except InvalidInput:
        return None
    except PenstockError as error:
        text = f"the model cannot answer {rows} rows of zeros ({error.reason}); the worker's log has the cause"
        raise ModelLoadFailed(text) from error
    finally:
        job.abandoned = True  # one answer is enough: some generators have no last one
        await running


async def _first(job: Job) -> Outputs | None:
    if not isinstance(job, StreamJob):
        return await job.answer()
    async with contextlib.aclosing(job.answers()) as answers:
        return await anext(answers, None)
