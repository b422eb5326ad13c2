"""Workers that are no processes, and a directory that knows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from random import Random
from typing import Any

from penstock import errors
from penstock.gateway.balancer import Balancer, Key
from penstock.gateway.directory import Directory
from penstock.gateway.subchannel import Endpoint, Metadata
from penstock.gateway.wire import wrap
from penstock.rpc.call import Call, new_call
from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

AVAILABLE = model_pb2.MODEL_STATE_AVAILABLE
LOADING = model_pb2.MODEL_STATE_LOADING
UNLOADING = model_pb2.MODEL_STATE_UNLOADING
END = model_pb2.MODEL_STATE_END
KEY = ("digits", 1)
REQUEST = wrap(1, wrap(1, b"digits"))


def endpoint(worker_id: str, epoch: int = 1, draining: bool = False, **more: Any) -> Endpoint:
    fields = {"name": "digits", "version": 1, "address": f"unix:/{worker_id}", **more}
    return Endpoint(worker_id, epoch, draining=draining, **fields)


Step = errors.PenstockError | float | tuple[float, errors.PenstockError]


class FakeSubchannel:
    """Answers `worker_id`, unless `plan` says what else shall come: an error to raise, seconds to take, or both."""

    def __init__(self, endpoint: Endpoint, on_change: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self.in_flight = 0
        self.ready = False
        self.closed = False
        self.plan: list[Step] = []
        self.parts = 1
        self.asked: list[tuple[bytes, float | None, Metadata]] = []
        self.cancelled = 0
        self._on_change = on_change

    def set_ready(self, ready: bool = True) -> None:
        self.ready = ready
        self._on_change()

    async def predict(self, request: bytes, timeout: float | None, metadata: Metadata) -> tuple[bytes, Metadata]:
        self.asked.append((request, timeout, metadata))
        self.in_flight += 1
        try:
            await self._next()
        finally:
            self.in_flight -= 1
        return self.endpoint.worker_id.encode(), (("x-penstock-worker", "w"), ("secret", "s"))

    async def generate(self, request: bytes, timeout: float | None, metadata: Metadata) -> AsyncGenerator[bytes, None]:
        self.asked.append((request, timeout, metadata))
        try:
            for number in range(self.parts):
                await self._next()
                yield f"{self.endpoint.worker_id}/{number}".encode()
        except GeneratorExit:
            self.cancelled += 1
            raise

    async def _next(self) -> None:
        step = self.plan.pop(0) if self.plan else 0.0
        seconds = step if isinstance(step, float) else step[0] if isinstance(step, tuple) else 0.0
        error = step if isinstance(step, errors.PenstockError) else step[1] if isinstance(step, tuple) else None
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if error:
            raise error

    async def close(self) -> None:
        self.closed = True
        self.ready = False


class Farm:
    """A balancer over fakes. `made` has every subchannel ever made."""

    def __init__(self, policy: str = "round_robin") -> None:
        self.made: list[FakeSubchannel] = []
        connect: Any = self._connect
        self.balancer = Balancer(policy, Random(1), connect)

    def _connect(self, endpoint: Endpoint, on_change: Callable[[], None]) -> FakeSubchannel:
        self.made.append(FakeSubchannel(endpoint, on_change))
        return self.made[-1]

    def __getitem__(self, worker_id: str) -> FakeSubchannel:
        return next(s for s in reversed(self.made) if s.endpoint.worker_id == worker_id)

    def start(self, *worker_ids: str) -> list[FakeSubchannel]:
        """Exactly these workers, all ready."""
        self.balancer.update([endpoint(worker_id) for worker_id in worker_ids])
        for worker_id in worker_ids:
            self[worker_id].set_ready()
        return [self[worker_id] for worker_id in worker_ids]

    def pick(self, key: Key = KEY) -> Any:
        """A fake, as such."""
        return self.balancer.pick(key)

    def next_of_two(self) -> FakeSubchannel:
        """Whose turn it is."""
        before = self.pick()
        return next(s for s in self.made if s is not before)

    def picks(self, count: int = 20) -> set[str]:
        found = [self.pick() for _ in range(count)]
        return {s.endpoint.worker_id for s in found if s is not None}


def model(name: str = "digits", states: Sequence[int] = (AVAILABLE,), **more: Any) -> pb.ModelRecord:
    versions = [
        pb.VersionRecord(manifest=model_pb2.Manifest(name=name, version=n), state=state, desired_instances=1)  # type: ignore[arg-type]
        for n, state in enumerate(states, 1)
    ]
    return pb.ModelRecord(name=name, versions=versions, aliases=more.get("aliases", {"stable": 1}))


def directory(*models: pb.ModelRecord) -> Directory:
    made = Directory()
    made.apply(pb.WatchResponse(snapshot=True, models=models or [model()]))
    return made


def call(timeout: float | None = None, **headers: str) -> Call:
    made = new_call("/penstock.v1.PredictService/Predict", [(k.replace("_", "-"), v) for k, v in headers.items()])
    if timeout is not None:
        made.deadline = asyncio.get_running_loop().time() + timeout
    return made


def now() -> float:
    return asyncio.get_running_loop().time()
