"""Before the first caller: run the model, learn what that takes, prove that it answers as it should."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np

from ..errors import InvalidInput, ModelLoadFailed, PenstockError
from ..tensors import Array
from .agreement import Tolerance, disagreement, misshapen
from .engine import ServiceTimes, buckets
from .examples import Golden
from .executor import Executor
from .forward import forward
from .job import Outputs
from .loaded import Loaded
from .samples import Samples

log = logging.getLogger("penstock.worker")

PATIENCE = 2.0
"""Seconds after which only what must be run is run."""
_RUNS = 5
"""Of each size, as far as there is time."""


async def warm_up(
    executor: Executor,
    loaded: Loaded,
    max_batch_size: int,
    times: ServiceTimes,
    patience: float = PATIENCE,
    samples: Samples | None = None,
) -> None:
    """Run batches of several sizes, so that no caller pays for first-time work, and note how long they take.

    The smallest and the greatest are always run, the others as long as `patience` seconds are not over. `samples` are
    the rows; None: made from the signature.

    Raises:
        ModelLoadFailed: the model cannot answer.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    samples = samples or Samples(loaded.signature)
    greatest = max_batch_size if loaded.signature.batch else 1
    for rows in sorted(buckets(greatest), key=lambda rows: (rows not in (1, greatest), rows)):
        if rows in (1, greatest) or loop.time() < until:
            outputs, _ = await _forward(executor, loaded, samples, rows)  # not measured: first-time work is in it
            if outputs is not None:  # how long a refusal takes says nothing of an answer
                times.learn(rows, await _seconds(executor, loaded, samples, rows, until))


async def _seconds(executor: Executor, loaded: Loaded, samples: Samples, rows: int, until: float) -> float:
    """What a batch takes: the median of some, or of one where there is no more time."""
    measured = [(await _forward(executor, loaded, samples, rows))[1]]
    while len(measured) < _RUNS and asyncio.get_running_loop().time() < until:
        measured.append((await _forward(executor, loaded, samples, rows))[1])
    return median(measured)


async def prove(executor: Executor, loaded: Loaded, samples: Samples | None = None) -> None:
    """One real forward, whose answer must be what the signature says.

    A model that refuses zeros with InvalidInput, or as a generator has no answer for them, is believed.

    Raises:
        ModelLoadFailed: it cannot answer, or an output has another dtype or shape.
    """
    outputs, _ = await _forward(executor, loaded, samples or Samples(loaded.signature), 1)
    if not outputs:
        log.warning("the model gives no answer to zeros: what it gives is not compared with its signature")
        return
    for spec, array in zip(loaded.signature.outputs, outputs, strict=True):
        if problem := misshapen(spec, array):
            raise ModelLoadFailed(problem)


async def prove_golden(
    executor: Executor, loaded: Loaded, golden: Golden, tolerance: Tolerance, max_batch_size: int
) -> None:
    """Ask what the golden example asks, in batches as large as callers' are, and compare the answer with its own.

    Raises:
        ModelLoadFailed: the answer is another, or there is none.
    """
    answers = []
    for inputs, rows in _batches(golden, max_batch_size if loaded.signature.batch else golden.rows):
        outputs, _ = await forward(executor, loaded, inputs, rows)
        if isinstance(outputs, PenstockError) or not outputs:
            reason = f" ({outputs.reason})" if isinstance(outputs, PenstockError) else ""
            raise ModelLoadFailed(f"the model gives no answer to its golden example{reason}; the worker's log has more")
        answers.append(outputs)
    got = [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in zip(*answers, strict=True)]
    if problem := disagreement(loaded.signature.outputs, got, golden.outputs, tolerance):
        raise ModelLoadFailed(f"the golden example is answered wrongly: {problem}")


def _batches(golden: Golden, most: int) -> Iterator[tuple[Sequence[Array], int]]:
    if golden.rows <= most:
        yield golden.inputs, golden.rows
        return
    for at in range(0, golden.rows, most):
        yield [array[at : at + most] for array in golden.inputs], min(most, golden.rows - at)


async def _forward(executor: Executor, loaded: Loaded, samples: Samples, rows: int) -> tuple[Outputs | None, float]:
    """The answer and the seconds that it took; None if there is none and that is no mistake."""
    outputs, seconds = await forward(executor, loaded, samples.rows(rows), rows)
    if not isinstance(outputs, PenstockError):
        return outputs, seconds
    if samples.made and isinstance(outputs, InvalidInput):
        return None, seconds
    text = f"the model cannot answer {rows} rows of {samples} ({outputs.reason}); the worker's log has the cause"
    raise ModelLoadFailed(text) from outputs
