"""How the awaiting client asks many times on one stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from functools import partial
from typing import Any

from ..errors import PenstockError
from .aio_lane import AioLane
from .aio_status import AsyncStatusCaller
from .connection import Headers, Priority
from .prediction import Prediction, prediction
from .request import Inputs, Question
from .window import Asked, Window


class AsyncManyCaller(AsyncStatusCaller):
    """What stands behind `predict_many`."""

    async def _many(
        self,
        questions: AsyncGenerator[Question | PenstockError, None],
        window: Window,
        headers: Headers,
        priority: Priority,
        return_exceptions: bool,
    ) -> AsyncGenerator[Prediction | PenstockError, None]:
        open_call = partial(self._methods.predict_stream, metadata=headers)
        async with aclosing(AioLane(open_call, window, questions)) as lane:
            while (done := await lane.next()) is not None:
                try:
                    outcome: Prediction | PenstockError = await self._answer(done, priority)
                except PenstockError as error:
                    if not return_exceptions:
                        raise
                    outcome = error
                yield outcome

    async def _answer(self, asked: Asked, priority: Priority) -> Prediction:
        """What the stream gave; further attempts are calls of their own."""
        question = asked.question
        answer: Any = asked.outcome
        if isinstance(answer, PenstockError):
            attempts = self._own.attempts(asked.deadline - asyncio.get_running_loop().time())
            delay = attempts.delay(answer, time.monotonic())
            if delay is None or question is None:
                raise answer
            await asyncio.sleep(delay)
            headers = self._own.headers_of(asked.call_id, priority=priority)
            answer, _ = await self._unary(self._methods.predict, question.body, attempts, headers)
        return prediction(answer, question is not None and question.torch, asked.call_id)


async def each(
    ask: Callable[[Inputs], Question | PenstockError], inputs: Iterable[Inputs] | AsyncIterable[Inputs]
) -> AsyncGenerator[Question | PenstockError, None]:
    """The questions for inputs of either kind."""
    if isinstance(inputs, AsyncIterable):
        async for one in inputs:
            yield ask(one)
    else:
        for one in inputs:
            yield ask(one)
