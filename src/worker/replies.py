"""What a worker says over one link: answers, errors, credit, and which of the gateway's memory it is done with."""

from __future__ import annotations

from copy import copy

from penstock.v1 import worker_pb2 as pb

from ..exchange.link import Link
from ..exchange.outbox import Outbox
from ..rpc.errors import as_penstock_error, to_status
from .encoding import response
from .session import Asked

_LARGE = 64 * 1024
"""Answers above this go into shared memory where there is some."""
_MOST_HELD_BYTES = 4 * 1024 * 1024
"""Of blocks that were read and not yet released: they wait for the next answers, but not for ever."""
_METHOD = "WorkerService/Exchange"


class Replies:
    """Collects what leaves together. Belongs to the link's handler."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._outbox = Outbox(pb.ExchangeResponse)
        self._outbox.attach(link)
        self._held_bytes = 0

    @property
    def unsent_bytes(self) -> int:
        """Of answers that the link has not taken yet."""
        return self._outbox.waiting_bytes

    def answer(self, asked: Asked) -> None:
        """There is an outcome."""
        answer = self._outbox.message.answers.add()
        answer.id = asked.id
        if asked.timings:
            answer.timings.queue_us = round(asked.queue_s * 1e6)
            answer.timings.compute_us = round(asked.compute_s * 1e6)
            answer.timings.batch_rows = asked.batch_rows
        self._outbox.touch(self._write(answer, asked))
        self.release(asked)

    def _write(self, answer: pb.ExchangeAnswer, asked: Asked) -> int:
        """The outcome; returns its size in the message."""
        if asked.error is not None:
            return _explain(answer, asked.error, asked.request_id)
        try:
            return self._put(answer, response(asked))
        except Exception as error:
            return _explain(answer, error, asked.request_id)

    def _put(self, answer: pb.ExchangeAnswer, encoded: bytes) -> int:
        """The answer's bytes, where they travel best; how many of them are in the message."""
        memory = self._link.memory
        if memory is not None and len(encoded) > _LARGE:
            place = memory.mine.put(encoded)
            if place is not None:
                answer.block.offset, answer.block.size = place
                return 32
        answer.response = encoded
        return len(encoded) + 16

    def refuse(self, question: pb.ExchangeQuestion, error: Exception) -> None:
        """A question does not become a job."""
        answer = self._outbox.message.answers.add()
        answer.id = question.id
        self._outbox.touch(_explain(answer, error, question.request_id))
        if question.HasField("block"):
            self._released(question.block.offset, question.block.size)

    def release(self, asked: Asked) -> None:
        """The request's bytes are not needed any more."""
        if asked.block is not None:
            self._released(asked.block, asked.size)
            asked.block = None

    def _released(self, offset: int, size: int) -> None:
        """Said with the next answers; at once if that would be much to hold back."""
        self._outbox.message.released.append(offset)
        self._held_bytes += size
        if self._held_bytes > _MOST_HELD_BYTES:
            self._held_bytes = 0
            self._outbox.touch()

    def welcome(self, welcome: pb.ExchangeWelcome, *, draining: bool) -> None:
        """The stream is open."""
        self._outbox.message.welcome.CopyFrom(welcome)
        self._outbox.message.draining = draining
        self._outbox.touch()

    def grant(self, rows: int, load: pb.ExchangeLoad) -> None:
        """How busy the worker is, and how many rows more the gateway may send."""
        message = self._outbox.message
        message.credits += rows
        message.load.CopyFrom(load)
        self._outbox.touch()

    def say_draining(self) -> None:
        """Nothing new is wanted."""
        self._outbox.message.draining = True
        self._outbox.touch()

    def on_writable(self) -> None:
        """The link can be written again."""
        self._outbox.on_writable()

    def stop(self) -> None:
        """The link has gone."""
        self._outbox.detach()


def _explain(answer: pb.ExchangeAnswer, error: Exception, request_id: str) -> int:
    """Why there is no answer; its size."""
    # A copy: the requests of a batch may share an error, and each has its own id.
    status = to_status(as_penstock_error(copy(error), request_id, _METHOD))
    answer.error.CopyFrom(status)
    return int(status.ByteSize())
