"""One gateway as a worker sees it, over all of its streams: what it has asked, and what it may send."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from typing import Protocol

from penstock.v1 import worker_pb2 as pb

from ..errors import PenstockError
from .credits import Account
from .job import Job

_REMEMBERED = 4096


class Stream(Protocol):
    """One of a session's streams."""

    @property
    def unsent_bytes(self) -> int:
        """Of answers that the link has not taken yet."""

    @property
    def is_slow(self) -> bool:
        """The gateway does not read its answers as fast as they are made."""

    def release(self, asked: Asked) -> None:
        """Say that the bytes of a question's request are not needed any more."""

    def grant(self, rows: int, load: pb.ExchangeLoad) -> None:
        """Say how busy the worker is, and that the gateway may send so many rows more (below zero: fewer)."""

    def say_draining(self) -> None:
        """Say that nothing new is wanted."""

    def end(self, error: PenstockError | None = None) -> None:
        """Close the link after what was said."""


class Asked(Job):
    """A job with what the answer to its question needs."""

    __slots__ = ("block", "id", "request_id", "stream", "timings")

    id: int
    request_id: str
    timings: bool
    block: int | None
    """Where in the gateway's memory the request is; None once it was released, or if it is not there."""
    stream: Stream
    """Where the question came from, and the answer goes."""


class Session:
    """What is known of a gateway. Belongs to the event loop."""

    def __init__(self) -> None:
        self.asked: dict[int, Asked] = {}
        """Questions that have not been answered, by their ids."""
        self.streams: dict[int, Stream] = {}
        """Those that are open. Credits go over number 0."""
        self.account = Account()
        self.binds_late = False
        """It has said what waits, and so keeps to its credit. Gateways that send at once, for comparison, never do."""
        self.talks = False
        """Something is on its way to it: what is said now costs no message of its own."""
        self.withheld = False
        """It gets no credits before it has read answers."""
        self.disowned: Container[int] = ()
        """Questions of streams that broke, which the gateway was told will not be run: they may still arrive."""
        self.gone_at = 0.0
        """When its last stream ended."""
        self._begun: deque[int] = deque(maxlen=_REMEMBERED)

    def note_begun(self, id_: int) -> None:
        """Remember that a question was run. Its answer may get lost on the way."""
        self._begun.append(id_)

    def begun(self, ids: Iterable[int]) -> list[int]:
        """Which of these have been run, as far back as that is remembered."""
        known = set(self._begun)
        return [id_ for id_ in ids if id_ in known]

    def take(self, ids: Iterable[int]) -> list[Asked]:
        """Forget questions; returns those that had no answer, for the engine to be told."""
        taken = [asked for id_ in ids if (asked := self.asked.pop(id_, None)) is not None]
        self._begun.extend(asked.id for asked in taken if asked.started)
        return taken

    def of(self, stream: Stream) -> list[int]:
        """The questions that came by this stream."""
        return [id_ for id_, asked in self.asked.items() if asked.stream is stream]
