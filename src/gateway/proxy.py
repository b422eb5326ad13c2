"""PredictService as the gateway serves it: peek, admit, wait in the lane, forward. No tensor is parsed on the way."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ..errors import InvalidArgument, PenstockError, RegistryUnavailable, Violation
from ..lanes import PRIORITIES
from ..rpc.call import Call
from ..rpc.service import raw
from .admission import Admission
from .balancer import Balancer
from .directory import Directory
from .envelopes import Envelope
from .generation import Generation
from .peek import rows, target
from .question import Pairs, Question
from .refusals import Key
from .routing import RULED, resolve
from .streams import PredictStreams
from .traffic import Traffic

PRIORITY_KEY, VERSION_KEY = "x-penstock-priority", "x-penstock-version"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time for callers who set none."""

    default: float = 60.0


class Proxy:
    """Serves PredictService. Methods take and give the messages' bytes."""

    def __init__(
        self,
        directory: Directory,
        balancer: Balancer,
        admission: Admission,
        deadlines: Deadlines,
        traffic: Traffic,
    ) -> None:
        self._directory = directory
        self._balancer = balancer
        self._admission = admission
        self._deadlines = deadlines
        self._traffic = traffic
        self._loop = asyncio.get_running_loop()
        self._streams = PredictStreams(self._submit, admission.leave, deadlines.default)
        self._generation = Generation(self._route, directory, balancer, admission, deadlines.default, traffic)

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
        pin = pinned(call) if VERSION_KEY in metadata else 0
        facts["model"], facts["version"] = self._submit(question, call, pin)
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
        return self._streams.serve(requests, call, priority(call), pinned(call))

    def _submit(self, question: Question, call: Call, pin: int = 0, envelope: Envelope | None = None) -> Key:
        """Let a question in, and on its way; whoever calls this lets it out (`Admission.leave`), unless this raises."""
        request = question.request
        key = self._route(request, call, pin)
        name, version = key
        self._admission.admit(len(request))
        watched = None
        try:
            if version == RULED:
                split_key = envelope.split_key if envelope is not None else ""
                question = watched = self._traffic.watched(question, name, target(request).alias, call, split_key)
                key = name, version = watched.key
            if version not in self._directory.routes[name].single:
                question.rows = rows(request)
            self._balancer.lane(key).submit(question)
        except BaseException as error:
            self._admission.leave(len(request))
            if watched is not None:
                watched.refused(error)
            raise
        return key

    def _route(self, request: bytes, call: Call, pin: int) -> Key:
        """The version that shall answer; RULED: its alias's rules say.

        The right to ask is checked before anything is said about what exists.
        """
        asked, principal = target(request), call.principal
        principal.require("predict", asked.name)
        directory = self._directory
        if not directory.known:
            raise RegistryUnavailable("this gateway has not reached the registry yet; try again")
        version = agreed(asked.version, pin) if pin else asked.version
        version = resolve(
            directory.routes, asked.name, version, asked.alias, lambda name: principal.may("predict", name)
        )
        return asked.name, version

    @raw
    def generate(self, request: bytes, call: Call) -> AsyncIterator[bytes]:
        """One question, many answers."""
        return self._generation.serve(request, call, pinned(call))


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


def pinned(call: Call) -> int:
    """The version that the caller's metadata ask for instead of an alias; 0: none."""
    asked = call.text(VERSION_KEY)
    if not asked:
        return 0
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 19 and int(asked) > 0):
        text = f"{VERSION_KEY} is a version: a positive number, got {asked[:40]!r}"
        raise InvalidArgument(text, violations=[Violation(VERSION_KEY, text)])
    return int(asked)


def agreed(asked: int, pin: int) -> int:
    """The version that metadata and request ask for, if they do not contradict each other."""
    if asked not in (0, pin):
        text = f"the request asks for version {asked}, and {VERSION_KEY} for {pin}"
        raise InvalidArgument(text, violations=[Violation(VERSION_KEY, text)])
    return pin
