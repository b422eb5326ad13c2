"""The client that blocks."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import Literal, overload

from ..errors import PenstockError
from ..rpc.call import new_request_id
from .connection import Headers, Priority
from .prediction import Prediction, prediction
from .request import Inputs, Question, question, question_or_error
from .sync_many import ManyCaller
from .window import Window


class Client(ManyCaller):
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
        request_id = request_id or new_request_id()
        headers = self._own.headers_of(request_id, timings, priority, split_key)
        answer, trailers = self._unary(self._methods.predict, asked.body, self._own.attempts(timeout), headers)
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
    ) -> Generator[Prediction, None, None]:
        """Ask a model that answers many times, and iterate over the answers as they come.

        The call is made when the first answer is asked for, and tried again only until that is there. Closing the
        iterator cancels the call. Arguments and errors are those of `predict`; the timeout is for all answers together.
        """
        asked = question(model, inputs, version, alias, outputs)
        request_id = request_id or new_request_id()
        headers = self._own.headers_of(request_id, priority=priority, split_key=split_key)
        return self._generate(asked, timeout, request_id, headers)

    def _generate(
        self, asked: Question, timeout: float | None, request_id: str, headers: Headers
    ) -> Generator[Prediction, None, None]:
        method = self._methods.generate
        with closing(self._streamed(method, asked.body, self._own.attempts(timeout), headers)) as answers:
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
        priority: Priority = ...,
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
        priority: Priority = ...,
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
        priority: Priority = "normal",
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
        return self._many(map(ask, inputs), window, headers, priority, return_exceptions)
