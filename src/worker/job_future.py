"""A job's outcome as a future, for who would rather wait than be called."""

from __future__ import annotations

import asyncio

from .job import Job


def settled(job: Job) -> asyncio.Future[Job]:
    """The job when it has an outcome, or its error raised. Takes the job's `on_settled`."""
    future: asyncio.Future[Job] = asyncio.get_running_loop().create_future()

    def tell(job: Job) -> None:
        if future.done():
            return
        if job.error is None:
            future.set_result(job)
        else:
            future.set_exception(job.error)
            future.exception()  # taken: the caller may be gone, and asyncio would complain of nobody looking

    if job.settled:
        tell(job)
    else:
        job.on_settled = tell
    return future
