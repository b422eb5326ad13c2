"""The questions that a worker has, whatever becomes of the streams that they went by."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Container

from penstock.v1 import worker_pb2 as pb

from .question import Question


class Session:
    """What gateway and worker agree on over all streams, and again after they broke.

    Args:
        epoch: the worker's.
        apart: questions that went by calls of their own, of which no stream knows.
    """

    def __init__(self, epoch: int, apart: Container[Question]) -> None:
        self.questions: dict[int, Question] = {}
        """Sent and not answered, by their ids; also those that went apart."""
        self.emptied = asyncio.Event()
        """Set whenever the last of them has left."""
        self._number = int.from_bytes(os.urandom(8))
        self._epoch = epoch
        self._apart = apart

    def hello(self, stream: int) -> pb.ExchangeHello:
        """What opens a stream. The first one says which answers are still missed."""
        unanswered = self._exchanged() if stream == 0 else ()
        return pb.ExchangeHello(
            session=self._number,
            epoch=self._epoch,
            stream=stream,
            unanswered=[question.id for question in unanswered],
        )

    def resumed(self, welcome: pb.ExchangeWelcome) -> tuple[list[Question], list[Question]]:
        """Those that the worker had not begun and will not, and those that it had; it has none of either now."""
        begun = set(welcome.started)
        old = self.lost()
        return [q for q in old if q.id not in begun], [q for q in old if q.id in begun]

    def lost(self) -> list[Question]:
        """Those that went by streams. Nobody has them now."""
        gone = self._exchanged()
        for question in gone:
            del self.questions[question.id]
            question.holder = None
        if not self.questions:
            self.emptied.set()
        return gone

    async def finished(self, timeout: float) -> None:
        """Wait until there are none, but not for ever."""
        try:
            async with asyncio.timeout(timeout):
                while self.questions:
                    self.emptied.clear()
                    await self.emptied.wait()
        except TimeoutError:
            pass

    @property
    def rows_apart(self) -> int:
        """Rows that the worker has and has granted no credit for."""
        return sum(question.rows for question in self.questions.values() if question in self._apart)

    def _exchanged(self) -> list[Question]:
        return [question for question in self.questions.values() if question not in self._apart]
