"""Generate as the gateway serves it: one question, many answers, which pass on as they come."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ..errors import DeadlineExceeded, PenstockError, StreamBroken, WorkerDraining, WorkerLost
from ..rpc.call import Call
from .admission import Admission
from .balancer import Balancer
from .directory import Directory
from .figures import Outcome, outcome_of, outcome_of_abandoned
from .hopes import MAX_FOR_LOAD, patience
from .peek import target
from .question import Pairs
from .refusals import Key, Refusals
from .retry import Attempts, costs_budget, may_retry
from .routing import RULED, is_expected, is_on_demand, why_unavailable
from .splitting import Rules
from .subchannel import Subchannel
from .traffic import Traffic

_LOOK = 1.0
"""Seconds after which who waits for a worker looks whether there is still one to be expected."""


class Generation:
    """Serves questions that are answered many times. They do not wait in a lane.

    Args:
        route: which version a caller's request is for, or raises; told the version that it is pinned to, or 0.
        directory: of versions.
        balancer: has the workers.
        admission: bounds what is in the gateway.
        timeout: seconds for callers who set none.
        traffic: says which version where the alias has rules, and counts.
    """

    def __init__(
        self,
        route: Callable[[bytes, Call, int], Key],
        directory: Directory,
        balancer: Balancer,
        admission: Admission,
        timeout: float,
        traffic: Traffic,
    ) -> None:
        self._route = route
        self._traffic = traffic
        self._directory = directory
        self._balancer = balancer
        self._admission = admission
        self._default = timeout
        self._waiting: Counter[Key] = Counter()
        """Requests that wait for a version that is loaded because of them."""
        self._loop = asyncio.get_running_loop()

    async def serve(self, request: bytes, call: Call, pin: int = 0) -> AsyncGenerator[bytes, None]:
        """The answers. It is tried again only until the first one."""
        key = self._route(request, call, pin)
        if key[1] != RULED:
            answers = self._serve(request, call, key)
        else:
            rules, version = self._traffic.chosen(key[0], target(request).alias, call)
            answers = self._counted(self._serve(request, call, (key[0], version)), rules, version, call)
        async with aclosing(answers):
            async for answer in answers:
                yield answer

    async def _counted(
        self, answers: AsyncGenerator[bytes, None], rules: Rules, version: int, call: Call
    ) -> AsyncGenerator[bytes, None]:
        """The same answers; how they ended is counted for the version."""
        begun, first = self._loop.time(), 0.0
        outcome = Outcome.FAILED
        try:
            async with aclosing(answers):
                async for answer in answers:
                    first = first or self._loop.time()
                    yield answer
            outcome = Outcome.ANSWERED
        except PenstockError as error:
            outcome = outcome_of(error)
            raise
        except (GeneratorExit, asyncio.CancelledError):
            deadline = min(call.deadline, begun + self._default)
            gone = outcome_of_abandoned(begun, deadline, self._loop.time())
            outcome = Outcome.CANCELLED if first else gone
            raise
        finally:
            self._traffic.note(rules, version, outcome, first - begun)

    async def _serve(self, request: bytes, call: Call, key: Key) -> AsyncGenerator[bytes, None]:
        call.facts["model"], call.facts["version"] = key
        lane = self._balancer.lane(key)
        lane.budget.on_request(self._loop.time())
        lane.used_at = self._loop.time()
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
                            lane.used_at = self._loop.time()
                            yield response
                    return
                except PenstockError as error:
                    if begun and isinstance(error, (WorkerLost, WorkerDraining)):
                        raise StreamBroken("the worker was lost after the first answer") from error
                    attempts = self._retry_or_raise(error, attempts, key, begun)
        finally:
            self._admission.leave(len(request))

    async def _subchannel(self, key: Key, call: Call, tried: list[Subchannel]) -> Subchannel:
        """A ready one; where there is none, a short wait for one."""
        found = self._balancer.pick(key, tried) or await self._waited_for(key, call)
        if found is None:
            raise why_unavailable(self._directory.routes, *key)
        tried.append(found)
        call.facts["worker"] = found.endpoint.worker_id
        call.facts["attempts"] = len(tried)
        return found

    async def _waited_for(self, key: Key, call: Call) -> Subchannel | None:
        """One that becomes ready while that is to be expected, and there is time for it."""
        left = min(call.time_remaining(), self._default)
        if not is_on_demand(self._directory.routes, *key):
            return await self._expected(key, patience(left))
        if self._waiting[key] >= MAX_FOR_LOAD:
            raise Refusals(key).full(self._waiting[key])
        self._waiting[key] += 1
        try:
            return await self._expected(key, patience(left, on_demand=True), self._balancer.outlook.ask_for)
        finally:
            self._waiting[key] -= 1
            self._waiting += Counter()  # which drops what is 0

    async def _expected(
        self, key: Key, seconds: float, ask_for: Callable[[Key], None] = lambda key: None
    ) -> Subchannel | None:
        until = self._loop.time() + seconds
        while is_expected(self._directory.routes, *key) and (wait := until - self._loop.time()) > 0:
            ask_for(key)
            found = await self._balancer.wait(key, min(wait, _LOOK))
            if found is not None:
                return found
        return None

    def _timeout(self, call: Call) -> float:
        """Seconds that the worker has."""
        remaining = call.time_remaining()
        if remaining <= 0:
            raise DeadlineExceeded("the deadline passed before a worker was asked")
        return self._default if math.isinf(remaining) else remaining

    def _retry_or_raise(self, error: PenstockError, attempts: Attempts, key: Key, begun: bool) -> Attempts:
        attempts = attempts.after(error)
        others = self._balancer.ready(key) - attempts.count
        if begun or not may_retry(error, attempts, others):
            raise error.with_metadata(model=key[0], version=str(key[1]))
        if costs_budget(error) and not self._balancer.lane(key).budget.take(self._loop.time()):
            raise error.with_metadata(model=key[0], version=str(key[1]))
        return attempts


def _metadata(call: Call) -> Pairs:
    """What the worker is told of the caller's headers. All others stay here."""
    metadata: list[tuple[str, str | bytes]] = [("x-request-id", call.request_id)]
    for key in ("traceparent", "tracestate", "x-penstock-timings", "x-penstock-priority"):
        if key in call.metadata:
            metadata.append((key, call.metadata[key]))
    return tuple(metadata)
