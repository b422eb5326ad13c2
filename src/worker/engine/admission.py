"""Which requests are refused at their arrival. Decisions only: `now` is passed in."""

from __future__ import annotations

from math import inf
from typing import TypeVar

from ...errors import BatchTooLarge, ExpiredInQueue, MemoryPressure, PenstockError, PredictedLate, QueueFull, Violation
from ...lanes import RETURN_ALLOWANCE
from .closing import Start, Timeline
from .policy import BatchPolicy
from .queue import BatchQueue
from .service_time import ServiceTimes
from .waiting import Waiting

W = TypeVar("W", bound=Waiting)


def refusal(
    request: W, now: float, policy: BatchPolicy, queue: BatchQueue[W], line: Timeline, times: ServiceTimes
) -> PenstockError | None:
    """Why a request is not even queued; None: it is."""
    if request.streams and request.rows > policy.max_batch_size:
        text = f"{request.rows} rows, and the model takes at most {policy.max_batch_size} at once; split the request"
        return BatchTooLarge(text, violations=[Violation("inputs[0].shape[0]", text)])
    # An empty queue takes any request: one of many rows must not be refused for ever.
    if queue.rows and queue.rows + request.rows > policy.max_queue_size:
        text = f"{queue.rows} rows wait and at most {policy.max_queue_size} may; try again later, or add instances"
        return QueueFull(text)
    if queue.rows and queue.size + request.size > policy.max_queue_bytes:
        text = f"{queue.size} bytes wait and at most {policy.max_queue_bytes} may; try again later, or add instances"
        return MemoryPressure(text)
    return _late(request, now, policy, queue, line, times) if request.deadline < inf else None


def _late(
    request: W, now: float, policy: BatchPolicy, queue: BatchQueue[W], line: Timeline, times: ServiceTimes
) -> PenstockError | None:
    if request.deadline <= now:
        return ExpiredInQueue("the deadline passed before the request could run; it was not run")
    if not line.busy and not queue.rows:
        return None  # nothing is ahead of it
    most = policy.max_batch_size
    start = Start(line.start(now), times)
    batches = (queue.rows + request.rows) // most + 1
    if start.at + batches * times.predict(most) + RETURN_ALLOWANCE <= request.deadline:
        return None  # whoever is ahead of it: nearly always so
    own = 0 if request.streams else request.rows
    excess = start.end_of(queue.rows_ahead(request), own, most) - request.deadline
    if excess <= 0:
        return None
    text = f"what waits here would make the answer about {excess * 1e3:.0f} ms late; try again later, or add instances"
    return PredictedLate(text, retry_after=excess)
