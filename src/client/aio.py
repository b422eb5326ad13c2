"""The client that awaits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Literal, overload

from ..errors import PenstockError
from ..rpc.call import new_request_id
from .aio_many import AsyncManyCaller, each
from .connection import Headers, Priority
from .prediction import Prediction, prediction
from .request import Inputs, Question, question, question_or_error
from .unsent import MAX_BYTES
from .window import Window


class AsyncClient(AsyncManyCaller):
    """Asks models. One connection, for one event loop: make it while that loop runs.

    Cancelling a method's task cancels the call, also at the server. Arguments are those of `Client`, and besides:

    Args:
        coalesce: `predict` shares one stream for each priority, which costs client and servers much less where many
            are in flight: what is asked in one turn of the event loop, or while a message is written, leaves in one
            message. Versions, aliases and models may be mixed. Cancelled, a question that has left is answered all
            the same, and the answer ignored; 1,024 are on the way at a time, others wait for their turn. A question
            with a request id, with timings, or of more than 256 KiB is a call of its own.
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
        priority: Priority = "normal",
        split_key: str | None = None,
    ) -> Prediction:
        """Ask a model once.

        Args:
            model: its name.
            inputs: by name, or one value for a model with one input. For element types see `Value`.
            version: which one; with neither version nor alias, what the alias `stable` means.
            alias: which one.
            outputs: the names of those wanted; None: all.
            timeout: seconds until DEADLINE_EXCEEDED, all attempts together; None: the client's own.
            request_id: names the call in the servers' logs; None: one is made.
            timings: ask for `Prediction.timings`.
            priority: whether it is served sooner or later than its deadline says; what is low is late, never starved.
            split_key: where the alias's requests are split between versions, the same key always meets the same one;
                such as a user's id. None: each request meets one by chance.

        Raises:
            ValueError: version and alias are both given, or there is no such priority.
            InvalidTensor: an input cannot be sent, or does not fit the model.
            PenstockError: any other class of `penstock.errors`, as the server says.
        """
        asked = question(model, inputs, version, alias, outputs)
        attempts = self._own.attempts(timeout)
        if self._coalesce and not request_id and not timings and len(asked.body) <= MAX_BYTES:
            answer, request_id = await self._shared(asked.body, attempts, self._lane(priority), split_key or "")
            return prediction(answer, asked.torch, request_id)
        request_id = request_id or new_request_id()
        headers = self._own.headers_of(request_id, timings, priority, split_key)
        answer, trailers = await self._unary(self._methods.predict, asked.body, attempts, headers)
        return prediction(answer, asked.torch, request_id, trailers)

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
        priority: Priority = "normal",
        split_key: str | None = None,
    ) -> AsyncGenerator[Prediction, None]:
        """Ask a model that answers many times, and iterate over the answers as they come.

        The call is made when the first answer is asked for, and tried again only until that is there. Closing the
        iterator cancels the call. Arguments and errors are those of `predict`; the timeout is for all answers together.
        """
        asked = question(model, inputs, version, alias, outputs)
        request_id = request_id or new_request_id()
        headers = self._own.headers_of(request_id, priority=priority, split_key=split_key)
        return self._generate(asked, timeout, request_id, headers)

    async def _generate(
        self, asked: Question, timeout: float | None, request_id: str, headers: Headers
    ) -> AsyncGenerator[Prediction, None]:
        method = self._methods.generate
        async with aclosing(self._streamed(method, asked.body, self._own.attempts(timeout), headers)) as answers:
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
        priority: Priority = ...,
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
        priority: Priority = ...,
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
        priority: Priority = "normal",
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
            priority: see `predict`.
            in_flight: questions asked and not yet answered to the caller.
            return_exceptions: give the error in place of the answer and go on, instead of raising the first.

        Raises:
            ValueError: version and alias are both given, `in_flight` is not positive, or there is no such priority.
        """
        question(model, {}, version, alias, outputs)  # what is wrong with all of them is raised here
        window = Window(in_flight, self._own.timeout_of(timeout), new_request_id())
        headers = self._own.stream_headers(window.stream_id, priority)
        ask = partial(question_or_error, model, version=version, alias=alias, outputs=outputs)
        return self._many(each(ask, inputs), window, headers, priority, return_exceptions)
