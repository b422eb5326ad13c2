"""The client that blocks."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Literal, overload

from ..errors import PenstockError
from ..rpc.call import new_request_id
from .lane import Lane
from .prediction import Prediction, prediction
from .request import Inputs, Question, question, question_or_error
from .sync_status import StatusCaller
from .window import Asked, Window


class Client(StatusCaller):
    """Asks models. One connection; all methods may be called from any thread, also at the same time.

    Args:
        address: `host:port` or `unix:PATH` of a gateway; None: PENSTOCK_ADDRESS, else 127.0.0.1:8001.
        api_key: sent as a bearer token; None: PENSTOCK_API_KEY, else none.
        credentials: for a TLS connection; None: plain text.
        timeout: seconds for calls that do not say; None: as long as it takes.
        retries: how often a call that ended UNAVAILABLE is made again, with growing waits, within its deadline.
        metadata: sent with every call.
        channel_options: of grpc, besides ours or instead.

    Raises:
        ValueError: a negative number of retries.
    """

    def predict(
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
        answer, trailers = self._unary(method, asked.message, self._own.attempts(timeout), headers)
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
    ) -> Generator[Prediction, None, None]:
        """Ask a model that answers many times, and iterate over the answers as they come.

        The call is made when the first answer is asked for, and tried again only until that is there. Closing the
        iterator cancels the call. Arguments and errors are those of `predict`; the timeout is for all answers together.
        """
        asked = question(model, inputs, version, alias, outputs)
        return self._generate(asked, timeout, request_id or new_request_id())

    def _generate(self, asked: Question, timeout: float | None, request_id: str) -> Generator[Prediction, None, None]:
        method, headers = self._models.Generate, self._own.headers_of(request_id)
        with closing(self._streamed(method, asked.generate(), self._own.attempts(timeout), headers)) as answers:
            for answer in answers:
                yield prediction(answer, asked.torch, request_id)

    @overload
    def predict_many(
        self,
        model: str,
        inputs: Iterable[Inputs],
        *,
        version: int | None = ...,
        alias: str | None = ...,
        outputs: Sequence[str] | None = ...,
        timeout: float | None = ...,
        in_flight: int = ...,
        return_exceptions: Literal[False] = ...,
    ) -> Generator[Prediction, None, None]: ...

    @overload
    def predict_many(
        self,
        model: str,
        inputs: Iterable[Inputs],
        *,
        version: int | None = ...,
        alias: str | None = ...,
        outputs: Sequence[str] | None = ...,
        timeout: float | None = ...,
        in_flight: int = ...,
        return_exceptions: bool,
    ) -> Generator[Prediction | PenstockError, None, None]: ...

    def predict_many(
        self,
        model: str,
        inputs: Iterable[Inputs],
        *,
        version: int | None = None,
        alias: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        in_flight: int = 64,
        return_exceptions: bool = False,
    ) -> Generator[Prediction | PenstockError, None, None]:
        """Ask a model many times on one stream, the cheap way, and iterate over the answers in the inputs' order.

        Arguments and errors are those of `predict`, and besides:

        Args:
            model: its name.
            inputs: read in the caller's thread while iterating, at most `in_flight` ahead of the answers.
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
        return self._predict_many(map(ask, inputs), window, return_exceptions)

    def _predict_many(
        self, questions: Iterable[Question | PenstockError], window: Window, return_exceptions: bool
    ) -> Generator[Prediction | PenstockError, None, None]:
        open_call = partial(self._models.PredictStream, metadata=self._own.headers)
        with closing(Lane(open_call, window)) as lane:
            for asked in questions:
                lane.send(asked)
                while (done := lane.next(block=not window.room)) is not None:
                    yield self._outcome(done, return_exceptions)
            while (done := lane.next(block=True)) is not None:
                yield self._outcome(done, return_exceptions)

    def _outcome(self, asked: Asked, return_exceptions: bool) -> Prediction | PenstockError:
        try:
            return self._answer(asked)
        except PenstockError as error:
            if return_exceptions:
                return error
            raise

    def _answer(self, asked: Asked) -> Prediction:
        """What the stream gave; further attempts are calls of their own."""
        question = asked.question
        answer: Any = asked.outcome
        if isinstance(answer, PenstockError):
            attempts = self._own.attempts_until(asked.deadline)
            delay = attempts.delay(answer, time.monotonic())
            if delay is None or question is None:
                raise answer
            time.sleep(delay)
            method, headers = self._models.Predict, self._own.headers_of(asked.request_id)
            answer, _ = self._unary(method, question.message, attempts, headers)
        return prediction(answer, question is not None and question.torch, asked.request_id)
