"""Before the first caller: run the model with made-up inputs, and prove that it gives what its signature says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from ..errors import ModelLoadFailed, PenstockError
from ..signature import BATCH, Dim, Signature, TensorSpec
from ..tensors import STORAGE, Array
from .instance import Instance
from .job import Job, Outputs, StreamJob
from .loaded import Loaded

_FREE_SIZE = 8
"""What an unbounded free dimension is taken to be."""


def sample(signature: Signature, rows: int) -> list[Array]:
    """Inputs of zeros that fit the signature."""
    return [np.zeros(_shape(spec, rows), STORAGE[spec.dtype]) for spec in signature.inputs]


def _shape(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    return tuple(rows if isinstance(d, Dim) and d.name == BATCH else _size(d) for d in spec.shape)


def _size(dim: int | Dim) -> int:
    if isinstance(dim, int):
        return dim
    return min(max(dim.minimum, _FREE_SIZE), dim.maximum or _FREE_SIZE)


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

    Raises:
        ModelLoadFailed: it cannot answer, or an output has another dtype or shape.
    """
    for spec, array in zip(loaded.signature.outputs, await _forward(instance, loaded, 1), strict=True):
        fits = len(array.shape) == len(spec.shape) and all(
            isinstance(wanted, Dim) or size == wanted for size, wanted in zip(array.shape, spec.shape, strict=True)
        )
        if not fits or array.dtype != STORAGE[spec.dtype]:
            got = f"{array.dtype}{list(array.shape)}"
            raise ModelLoadFailed(f"output {spec.name!r} should be {spec}, and the model gave {got}")


async def _forward(instance: Instance, loaded: Loaded, rows: int) -> Outputs:
    kind = StreamJob if loaded.stream else Job
    batched = bool(loaded.signature.batch)
    job = kind(sample(loaded.signature, rows), rows if batched else 1, None, float("inf"), batched=batched)
    await instance.run([job])
    try:
        return await _first(job)
    except PenstockError as error:
        text = f"the model cannot answer {rows} rows of zeros ({error.reason}); the worker's log has the cause"
        raise ModelLoadFailed(text) from error


async def _first(job: Job) -> Outputs:
    if not isinstance(job, StreamJob):
        return await job.answer()
    answers: Sequence[Outputs] = [outputs async for outputs in job.answers()]
    await asyncio.sleep(0)
    return answers[0]
