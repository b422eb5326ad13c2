"""PredictService as the gateway serves it: peek, admit, wait in the lane, forward. No tensor is parsed on the way."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from ..errors import (
    DeadlineExceeded,
    InvalidArgument,
    PenstockError,
    RegistryUnavailable,
    StreamBroken,
    Violation,
    WorkerLost,
)
from ..lanes import PRIORITIES
from ..rpc.access import Principal
from ..rpc.call import Call
from ..rpc.service import raw
from .admission import Admission
from .balancer import Balancer
from .directory import Directory
from .hopes import patience
from .peek import rows, target
from .question import Pairs, Question
from .refusals import Key
from .retry import Attempts, costs_budget, may_retry
from .routing import is_expected, resolve, why_unavailable
from .streams import PredictStreams
from .subchannel import Subchannel

PRIORITY_KEY = "x-penstock-priority"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time for callers who set none."""

    default: float = 60.0


class Proxy:
    """Serves PredictService. Methods take and give the messages' bytes."""

    def __init__(self, directory: Directory, balancer: Balancer, admission: Admission, deadlines: Deadlines) -> None:
        self._directory = directory
        self._balancer = balancer
        self._admission = admission
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._streams = PredictStreams(self._submit, admission.leave, deadlines.default)

    @raw
    async def predict(self, request: bytes, call: Call) -> bytes:
        """One question, one answer."""
        now = self._loop.time()
        metadata = call.metadata
        question = _Unary(
            request,
            now,
            call.deadline if call.deadline < math.inf else now + self._deadlines.default,
            priority(call) if PRIORITY_KEY in metadata else 0,
            call.request_id,
            call.text("traceparent") if "traceparent" in metadata else "",
            metadata.get("x-penstock-timings") == "on",
        )
        question.answer, question.trailers = self._loop.create_future(), ()
        facts = call.facts
        facts["model"], facts["version"] = self._submit(question, call.principal)
        try:
            return await question.answer
        except asyncio.CancelledError:
            question.abandon()
            raise
        finally:
            self._admission.leave(len(request))
            if question.tried:
                facts["worker"], facts["attempts"] = question.tried[-1].endpoint.worker_id, len(question.tried)
                call.trailers += question.trailers

    @raw
    def predict_stream(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """Many questions on one stream."""
        return self._streams.serve(requests, call, priority(call))

    def _submit(self, question: Question, principal: Principal) -> Key:
        """Let a question in, and on its way; whoever calls this lets it out (`Admission.leave`), unless this raises."""
        request = question.request
        key = self._route(request, principal)
        name, version = key
        if version not in self._directory.routes[name].single:
            question.rows = rows(request)
        self._admission.admit(len(request))
        try:
            self._balancer.lane(key).submit(question)
        except BaseException:
            self._admission.leave(len(request))
            raise
        return key

    def _route(self, request: bytes, principal: Principal) -> Key:
        """The version that shall answer; the right to ask is checked before anything is said about what exists."""
        asked = target(request)
        principal.require("predict", asked.name)
        directory = self._directory
        if not directory.known:
            raise RegistryUnavailable("this gateway has not reached the registry yet; try again")
        version = resolve(
            directory.routes, asked.name, asked.version, asked.alias, lambda name: principal.may("predict", name)
        )
        return asked.name, version

    @raw
    async def generate(self, request: bytes, call: Call) -> AsyncIterator[bytes]:
        """One question, many answers. Tried again only until the first answer."""
        key = self._route(request, call.principal)
        call.facts["model"], call.facts["version"] = key
        self._balancer.lane(key).budget.on_request(self._loop.time())
        self._admission.admit(len(request))
        tried: list[Subchannel] = []
        attempts, begun = Attempts(), False
        try:
            while True:
                subchannel = await self._subchannel(key, call, tried)
                try:
                    answers = subchannel.generate(request, self._timeout(call), _metadata(call))
                    async with aclosing(answers) as responses:
                        async for response in responses:
                            begun = True
                            yield response
                    return
                except PenstockError as error:
                    if begun and isinstance(error, WorkerLost):
                        raise StreamBroken("the worker was lost after the first answer") from error
                    attempts = self._retry_or_raise(error, attempts, key, begun)
        finally:
            self._admission.leave(len(request))

    async def _subchannel(self, key: Key, call: Call, tried: list[Subchannel]) -> Subchannel:
        """A ready one; where there is none, a short wait for one."""
        found = self._balancer.pick(key, tried)
        if found is None and is_expected(self._directory.routes, *key):
            found = await self._balancer.wait(key, patience(call.time_remaining()))
        if found is None:
            raise why_unavailable(self._directory.routes, *key)
        tried.append(found)
        call.facts["worker"] = found.endpoint.worker_id
        call.facts["attempts"] = len(tried)
        return found

    def _timeout(self, call: Call) -> float:
        """Seconds that the worker has."""
        remaining = call.time_remaining()
        if remaining <= 0:
            raise DeadlineExceeded("the deadline passed before a worker was asked")
        return self._deadlines.default if math.isinf(remaining) else remaining

    def _retry_or_raise(self, error: PenstockError, attempts: Attempts, key: Key, begun: bool) -> Attempts:
        attempts = attempts.after(error)
        others = self._balancer.ready(key) - attempts.count
        if begun or not may_retry(error, attempts, others):
            raise error.with_metadata(model=key[0], version=str(key[1]))
        if costs_budget(error) and not self._balancer.lane(key).budget.take(self._loop.time()):
            raise error.with_metadata(model=key[0], version=str(key[1]))
        return attempts


class _Unary(Question):
    """A question whose caller waits for a future."""

    __slots__ = ("answer", "trailers")
    answer: asyncio.Future[bytes]
    trailers: Pairs

    def answered(self, response: bytes, trailers: Pairs) -> None:
        """See Question."""
        self.trailers = trailers
        if not self.answer.done():
            self.answer.set_result(response)

    def failed(self, error: PenstockError) -> None:
        """See Question."""
        self.trailers = ()
        if not self.answer.done():
            self.answer.set_exception(error)


def priority(call: Call) -> int:
    """The lane that the caller asked for."""
    asked = call.text(PRIORITY_KEY) or "normal"
    if asked not in PRIORITIES:
        text = f"{PRIORITY_KEY} is one of {', '.join(PRIORITIES)}, got {asked[:40]!r}"
        raise InvalidArgument(text, violations=[Violation(PRIORITY_KEY, text)])
    return PRIORITIES[asked]


def _metadata(call: Call) -> Pairs:
    """What the worker is told of the caller's headers. All others stay here."""
    metadata: list[tuple[str, str | bytes]] = [("x-request-id", call.request_id)]
    for key in ("traceparent", "tracestate", "x-penstock-timings"):
        if key in call.metadata:
            metadata.append((key, call.metadata[key]))
    return tuple(metadata)
