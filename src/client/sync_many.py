"""How the blocking client asks many times on one stream."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from ..errors import PenstockError
from .connection import Headers, Priority
from .lane import Lane
from .prediction import Prediction, prediction
from .request import Question
from .sync_status import StatusCaller
from .window import Asked, Window


class ManyCaller(StatusCaller):
    """What stands behind `predict_many`."""

    def _many(
        self,
        questions: Iterable[Question | PenstockError],
        window: Window,
        headers: Headers,
        priority: Priority,
        return_exceptions: bool,
    ) -> Generator[Prediction | PenstockError, None, None]:
        with closing(Lane(partial(self._methods.predict_stream, metadata=headers), window)) as lane:
            for done in _outcomes(lane, window, questions):
                try:
                    outcome: Prediction | PenstockError = self._answer(done, priority)
                except PenstockError as error:
                    if not return_exceptions:
                        raise
                    outcome = error
                yield outcome

    def _answer(self, asked: Asked, priority: Priority) -> Prediction:
        """What the stream gave; further attempts are calls of their own."""
        question = asked.question
        answer: Any = asked.outcome
        if isinstance(answer, PenstockError):
            attempts = self._own.attempts_until(asked.deadline)
            delay = attempts.delay(answer, time.monotonic())
            if delay is None or question is None:
                raise answer
            time.sleep(delay)
            headers = self._own.headers_of(asked.call_id, priority=priority)
            answer, _ = self._unary(self._methods.predict, question.body, attempts, headers)
        return prediction(answer, question is not None and question.torch, asked.call_id)


def _outcomes(lane: Lane, window: Window, questions: Iterable[Question | PenstockError]) -> Iterator[Asked]:
    """Asks as far as the window has room; gives what is done, in the order of the questions."""
    for question in questions:
        lane.send(question)
        while (done := lane.next(block=not window.room)) is not None:
            yield done
    while (done := lane.next(block=True)) is not None:
        yield done
