"""What is exchanged with a worker, as messages, and who hears of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from google.rpc import status_pb2

from penstock.v1 import worker_pb2 as pb

from ..errors import Internal, PenstockError
from ..rpc.errors import from_message
from .connection import SMALL_BYTES, STREAM_BYTES, Connection
from .question import Pairs, Question


class Owner(Protocol):
    """The lane, which hears what it must act on. Answers go straight to their questions."""

    def changed(self, worker: Any) -> None:
        """It has granted credit, or said how busy it is."""

    def failed(self, worker: Any, question: Question, error: PenstockError) -> None:
        """It answered with an error."""

    def returned(self, worker: Any, questions: Iterable[Question]) -> None:
        """It has not begun these and will not."""

    def died(self, worker: Any, questions: Iterable[Question]) -> None:
        """It has gone, and had these."""

    def tested(self, worker: Any, question: Question, lives: bool) -> None:
        """A suspect has ended, or was abandoned."""


def put_question(connection: Connection, question: Question, now: float) -> bool:
    """Add a question to what is said next, by the stream for its size; False: it must have a call of its own."""
    request = question.request
    size = len(request)
    box, block = connection.small, None
    if size > SMALL_BYTES:
        box = connection.medium
        if size > STREAM_BYTES and connection.memory is not None:
            block = connection.memory.mine.put(request)
        if size > STREAM_BYTES and block is None and connection.carrier != "unix":
            return False
    if box is None:
        return False
    asked = box.message.questions.add(
        id=question.id,
        timeout_us=max(int((question.deadline - now) * 1e6), 1),
        rows=question.rows,
        request_id=question.request_id,
    )
    if question.extras or question.suspect:
        asked.priority = question.priority
        asked.traceparent = question.traceparent
        asked.timings = question.timings
        asked.suspect = question.suspect
    if block is None:
        asked.request = request
        box.touch(size)
    else:
        asked.block.offset, asked.block.size = block
        box.touch()
    return True


def put_cancel(connection: Connection, question: Question) -> None:
    """Take a question back, by the stream that it went by: this must not arrive before it."""
    box = connection.small if len(question.request) <= SMALL_BYTES else connection.medium
    if box is not None:
        box.message.cancels.append(question.id)
        box.touch()


def taken(connection: Connection, block: pb.SharedBlock) -> bytes:
    """Copy an answer out of the worker's memory, and let the worker use it again."""
    if connection.memory is None or connection.small is None:
        raise Internal("the worker named shared memory where there is none")
    response = bytes(connection.memory.theirs.read(block.offset, block.size))
    connection.small.message.released.append(block.offset)
    connection.small.touch()
    return response


def timings(answer: pb.ExchangeAnswer, worker_id: str) -> Pairs:
    """As trailers for the caller."""
    took = answer.timings
    return (
        ("x-penstock-queue-us", str(took.queue_us)),
        ("x-penstock-compute-us", str(took.compute_us)),
        ("x-penstock-batch-size", str(took.batch_rows)),
        ("x-penstock-worker", worker_id),
    )


def worker_error(status: status_pb2.Status) -> PenstockError:
    """A worker's own error passes through unchanged; one without a reason is the worker's mistake."""
    known = from_message(status)
    return known if known.reason else Internal(f"the worker answered {known.code.name} without a reason")
