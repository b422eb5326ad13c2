"""PredictService as the gateway serves it: peek, admit, pick, forward. No tensor is parsed on the way."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from ..errors import DeadlineExceeded, PenstockError, RegistryUnavailable, StreamBroken, WorkerLost
from ..rpc.call import Call
from ..rpc.service import raw
from .admission import Admission
from .balancer import Balancer, Key
from .directory import Directory
from .peek import Target, target
from .retry import Attempts, RetryBudget, costs_budget, may_retry
from .routing import is_expected, resolve, why_unavailable
from .streams import PredictStreams
from .subchannel import Metadata, Subchannel

MAX_WAIT_FOR_WORKER = 1.0
"""Seconds, and at most a fifth of the time that the caller gave: the gap while a lost worker is replaced."""


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
        self._budgets: dict[str, RetryBudget] = {}
        self._streams = PredictStreams(self._predict)

    @raw
    async def predict(self, request: bytes, call: Call) -> bytes:
        """One question, one answer."""
        return await self._predict(request, call)

    @raw
    async def generate(self, request: bytes, call: Call) -> AsyncIterator[bytes]:
        """One question, many answers. Tried again only until the first answer."""
        key = self._route(target(request), call)
        with self._admission.permit(len(request)):
            tried: list[Subchannel] = []
            attempts, begun = Attempts(), False
            while True:
                subchannel = await self._subchannel(key, call, tried)
                try:
                    async with aclosing(
                        subchannel.generate(request, self._timeout(call), _metadata(call))
                    ) as responses:
                        async for response in responses:
                            begun = True
                            yield response
                    return
                except PenstockError as error:
                    if begun and isinstance(error, WorkerLost):
                        raise StreamBroken("the worker was lost after the first answer") from error
                    attempts = self._retry_or_raise(error, attempts, key, call, begun)

    @raw
    def predict_stream(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """Many questions on one stream."""
        return self._streams.serve(requests, call)

    async def _predict(self, request: bytes, call: Call) -> bytes:
        key = self._route(target(request), call)
        with self._admission.permit(len(request)):
            tried: list[Subchannel] = []
            attempts = Attempts()
            while True:
                subchannel = await self._subchannel(key, call, tried)
                try:
                    response, trailers = await subchannel.predict(request, self._timeout(call), _metadata(call))
                except PenstockError as error:
                    attempts = self._retry_or_raise(error, attempts, key, call)
                    continue
                call.trailers += [pair for pair in trailers if pair[0].startswith("x-penstock-")]
                return response

    def _route(self, asked: Target, call: Call) -> Key:
        """The version that shall answer; the right to ask is checked before anything is said about what exists."""
        call.principal.require("predict", asked.name)
        directory = self._directory
        if not directory.known:
            raise RegistryUnavailable("this gateway has not reached the registry yet; try again")
        version = resolve(
            directory.routes, asked.name, asked.version, asked.alias, lambda name: call.principal.may("predict", name)
        )
        call.facts.update(model=asked.name, version=version)
        self._budget(asked.name).on_request(asyncio.get_running_loop().time())
        return asked.name, version

    async def _subchannel(self, key: Key, call: Call, tried: list[Subchannel]) -> Subchannel:
        """A ready one; where there is none, a short wait for one."""
        found = self._balancer.pick(key, tried)
        if found is None and is_expected(self._directory.routes, *key):
            patience = min(MAX_WAIT_FOR_WORKER, 0.2 * call.time_remaining())
            found = await self._balancer.wait(key, max(patience, 0.0))
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

    def _retry_or_raise(
        self, error: PenstockError, attempts: Attempts, key: Key, call: Call, begun: bool = False
    ) -> Attempts:
        attempts = attempts.after(error)
        others = self._balancer.ready(key) - attempts.count
        if begun or not may_retry(error, attempts, others):
            raise error.with_metadata(model=key[0], version=str(key[1]))
        now = asyncio.get_running_loop().time()
        if costs_budget(error) and not self._budget(key[0]).take(now):
            raise error.with_metadata(model=key[0], version=str(key[1]))
        return attempts

    def _budget(self, name: str) -> RetryBudget:
        """One for each model that exists, so that made-up names cost no memory."""
        if name not in self._budgets:
            self._budgets = {known: b for known, b in self._budgets.items() if known in self._directory.routes}
            self._budgets[name] = RetryBudget()
        return self._budgets[name]


def _metadata(call: Call) -> Metadata:
    """What the worker is told of the caller's headers. All others stay here."""
    metadata: list[tuple[str, str | bytes]] = [("x-request-id", call.request_id)]
    for key in ("traceparent", "tracestate", "x-penstock-timings"):
        if key in call.metadata:
            metadata.append((key, call.metadata[key]))
    return tuple(metadata)
