"""PredictService as the gateway serves it: peek, admit, wait in the lane, forward. No tensor is parsed on the way."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ..errors import InvalidArgument, PenstockError, RegistryUnavailable, Violation
from ..lanes import PRIORITIES
from ..rpc.access import Principal
from ..rpc.call import Call
from ..rpc.service import raw
from .admission import Admission
from .balancer import Balancer
from .directory import Directory
from .generation import Generation
from .peek import rows, target
from .question import Pairs, Question
from .refusals import Key
from .routing import resolve
from .streams import PredictStreams

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
        self._generation = Generation(self._route, directory, balancer, admission, deadlines.default)

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
    def generate(self, request: bytes, call: Call) -> AsyncIterator[bytes]:
        """One question, many answers."""
        return self._generation.serve(request, call)


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
