"""One run of the model before there are callers, by the way that callers' requests take."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from ..errors import PenstockError
from ..tensors import Array
from .engine import Finished
from .executor import Executor
from .job import Job, Outputs, StreamJob
from .loaded import Loaded


async def forward(
    executor: Executor, loaded: Loaded, inputs: Sequence[Array], rows: int
) -> tuple[Outputs | PenstockError, float]:
    """The answer, or the first of several, or why there is none; and the seconds that it took.

    The rows are written to where callers' rows will be, so that their memory is warm, too.

    Args:
        executor: the model's; nothing else is under way.
        loaded: the model.
        inputs: one array for each input of its signature.
        rows: how many they have; at most what the executor was made for.
    """
    kind = StreamJob if loaded.stream else Job
    batched = bool(loaded.signature.batch)
    job = kind(inputs, rows if batched else 1, None, float("inf"), batched=batched)
    executor.write(job)
    running = _launched(executor, job)
    try:
        first = await _first(job) if isinstance(job, StreamJob) else None
    finally:
        job.abandoned = True  # one answer is enough: some generators have no last one
        finished = await running
    [outcome] = finished.outcomes
    if isinstance(outcome, PenstockError):
        return outcome, finished.seconds
    assert not isinstance(outcome, bytes)
    return first or outcome or (), finished.seconds


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
