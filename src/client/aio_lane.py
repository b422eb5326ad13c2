"""The stream of one `predict_many` of the awaiting client: a task reads the questions as far as the window has room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ..errors import PenstockError
from .aio_stream import AioStream
from .connection import FAREWELL_S
from .request import Question
from .unsent import MAX_QUESTIONS, Unsent
from .window import Asked, Window


class AioLane:
    """Sends questions as long as the window has room, and notes their answers; replaces a stream that is broken.

    Args:
        open_call: makes the RPC.
        window: the lane alone uses it.
        questions: read in a task of the lane's own, never further ahead than the window is wide. Those that could not
            be made come as the error.
    """

    def __init__(
        self, open_call: Callable[[], Any], window: Window, questions: AsyncGenerator[Question | PenstockError, None]
    ) -> None:
        self._open = open_call
        self._window = window
        self._now = asyncio.get_running_loop().time
        self._unsent = Unsent()
        self._streams: list[AioStream] = []  # none or one
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._feeder = asyncio.create_task(self._feed(questions))

    async def next(self) -> Asked | None:
        """The next in line with its outcome; None: all is answered.

        What the iterator of questions raised is raised here, after the answers to those that it gave.
        """
        while True:
            done = self._window.pop(self._now())
            if done is not None:
                self._room.set()
                return done
            if self._feeder.done() and not len(self._window):
                self._feeder.result()
                return None
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._window.patience(self._now())):
                    await self._news.wait()

    async def aclose(self) -> None:
        """Stop reading and sending. The stream ends in peace if all is answered, else at once."""
        self._feeder.cancel()
        await asyncio.gather(self._feeder, return_exceptions=True)
        for stream in list(self._streams):
            await stream.aclose(0.0 if len(self._window) else FAREWELL_S)

    async def _feed(self, questions: AsyncGenerator[Question | PenstockError, None]) -> None:
        try:
            async for question in questions:
                self._ask(question)
                if len(self._unsent) >= MAX_QUESTIONS:  # a message is full: it may leave before the rest is read
                    await asyncio.sleep(0)
                while not self._window.room:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._news.set()
            await questions.aclose()

    def _ask(self, question: Question | PenstockError) -> None:
        self._news.set()
        if isinstance(question, PenstockError):
            self._window.refuse(question, self._now())
            return
        asked = self._window.add(question, self._now())
        self._unsent.add(asked.request_id, asked.deadline, question.body)
        self._send()

    def _send(self) -> None:
        if not self._streams:
            self._streams.append(AioStream(self._open(), self._unsent, self._settle, self._ended))
        self._streams[0].wake()

    def _settle(self, message: Any) -> None:
        self._window.settle(message)
        self._news.set()

    def _ended(self, error: Callable[[], PenstockError]) -> None:
        self._streams.clear()
        self._unsent.clear()
        self._window.fail(error())
        self._news.set()
