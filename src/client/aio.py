"""The client that awaits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Literal, overload

from ..errors import PenstockError
from ..rpc.call import new_request_id
from .aio_lane import AioLane
from .aio_status import AsyncStatusCaller
from .prediction import Prediction, prediction
from .request import Inputs, Question, question, question_or_error
from .window import Asked, Window


class AsyncClient(AsyncStatusCaller):
    """Asks models. One connection, for one event loop: make it while that loop runs. Arguments are those of `Client`.

    Cancelling a method's task cancels the call, also at the server.
    """

    async def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        alias: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
        timings: bool = False,
    ) -> Prediction:
        """Ask a model once.

        Args:
            model: its name.
            inputs: by name, or one value for a model with one input. For element types see `Value`.
            version: which one; with neither version nor alias, what the alias `stable` means.
            alias: which one.
            outputs: the names of those wanted; None: all.
            timeout: seconds until DEADLINE_EXCEEDED, all attempts together; None: the client's own.
            request_id: names the call in the servers' logs; None: the server makes one.
            timings: ask for `Prediction.timings`.

        Raises:
            ValueError: version and alias are both given.
            InvalidTensor: an input cannot be sent, or does not fit the model.
            PenstockError: any other class of `penstock.errors`, as the server says.
        """
        asked = question(model, inputs, version, alias, outputs)
        headers = self._own.headers_of(request_id, timings)
        method = self._models.Predict
        answer, trailers = await self._unary(method, asked.message, self._own.attempts(timeout), headers)
        return prediction(answer, asked.torch, request_id or "", trailers)

    def generate(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        alias: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> AsyncGenerator[Prediction, None]:
        """Ask a model that answers many times, and iterate over the answers as they come.

        The call is made when the first answer is asked for, and tried again only until that is there. Closing the
        iterator cancels the call. Arguments and errors are those of `predict`; the timeout is for all answers together.
        """
        asked = question(model, inputs, version, alias, outputs)
        return self._generate(asked, timeout, request_id or new_request_id())

    async def _generate(
        self, asked: Question, timeout: float | None, request_id: str
    ) -> AsyncGenerator[Prediction, None]:
        method, headers = self._models.Generate, self._own.headers_of(request_id)
        async with aclosing(self._streamed(method, asked.generate(), self._own.attempts(timeout), headers)) as answers:
            async for answer in answers:
                yield prediction(answer, asked.torch, request_id)

    @overload
    def predict_many(
        self,
        model: str,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        version: int | None = ...,
        alias: str | None = ...,
        outputs: Sequence[str] | None = ...,
        timeout: float | None = ...,
        in_flight: int = ...,
        return_exceptions: Literal[False] = ...,
    ) -> AsyncGenerator[Prediction, None]: ...

    @overload
    def predict_many(
        self,
        model: str,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        version: int | None = ...,
        alias: str | None = ...,
        outputs: Sequence[str] | None = ...,
        timeout: float | None = ...,
        in_flight: int = ...,
        return_exceptions: bool,
    ) -> AsyncGenerator[Prediction | PenstockError, None]: ...

    def predict_many(
        self,
        model: str,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        version: int | None = None,
        alias: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        in_flight: int = 64,
        return_exceptions: bool = False,
    ) -> AsyncGenerator[Prediction | PenstockError, None]:
        """Ask a model many times on one stream, the cheap way, and iterate over the answers in the inputs' order.

        Arguments and errors are those of `predict`, and besides:

        Args:
            model: its name.
            inputs: an iterable or async iterable, read in a task of its own, at most `in_flight` ahead of the answers.
            version: which one.
            alias: which one; each question may meet another version if the alias is moved.
            outputs: the names of those wanted; None: all.
            timeout: seconds for each question from when it is read; None: the client's own.
            in_flight: questions asked and not yet answered to the caller.
            return_exceptions: give the error in place of the answer and go on, instead of raising the first.

        Raises:
            ValueError: version and alias are both given, or `in_flight` is not positive.
        """
        question(model, {}, version, alias, outputs)  # what is wrong with all of them is raised here
        window = Window(in_flight, self._own.timeout_of(timeout), new_request_id())
        ask = partial(question_or_error, model, version=version, alias=alias, outputs=outputs)
        return self._predict_many(_each(ask, inputs), window, return_exceptions)

    async def _predict_many(
        self, questions: AsyncGenerator[Question | PenstockError, None], window: Window, return_exceptions: bool
    ) -> AsyncGenerator[Prediction | PenstockError, None]:
        open_call = partial(self._models.PredictStream, metadata=self._own.headers)
        async with aclosing(AioLane(open_call, window, questions)) as lane:
            while (done := await lane.next()) is not None:
                yield await self._outcome(done, return_exceptions)

    async def _outcome(self, asked: Asked, return_exceptions: bool) -> Prediction | PenstockError:
        try:
            return await self._answer(asked)
        except PenstockError as error:
            if return_exceptions:
                return error
            raise

    async def _answer(self, asked: Asked) -> Prediction:
        """What the stream gave; further attempts are calls of their own."""
        question = asked.question
        answer: Any = asked.outcome
        if isinstance(answer, PenstockError):
            attempts = self._own.attempts_until(asked.deadline)
            delay = attempts.delay(answer, time.monotonic())
            if delay is None or question is None:
                raise answer
            await asyncio.sleep(delay)
            method, headers = self._models.Predict, self._own.headers_of(asked.request_id)
            answer, _ = await self._unary(method, question.message, attempts, headers)
        return prediction(answer, question is not None and question.torch, asked.request_id)


async def _each(
    ask: Callable[[Inputs], Question | PenstockError], inputs: Iterable[Inputs] | AsyncIterable[Inputs]
) -> AsyncGenerator[Question | PenstockError, None]:
    if isinstance(inputs, AsyncIterable):
        async for one in inputs:
            yield ask(one)
    else:
        for one in inputs:
            yield ask(one)
