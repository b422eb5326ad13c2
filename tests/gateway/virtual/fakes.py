"""Workers that are no processes, and a directory that knows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from random import Random
from typing import Any

from penstock import errors
from penstock.gateway.balancer import Balancer
from penstock.gateway.directory import Directory
from penstock.gateway.endpoint import Endpoint
from penstock.gateway.exchanged import Owner
from penstock.gateway.figures import Difference, Figures
from penstock.gateway.late_binding import Forecast
from penstock.gateway.question import Pairs, Question
from penstock.gateway.refusals import Key, Outlook
from penstock.gateway.routing import is_expected, is_on_demand, why_unavailable
from penstock.gateway.shadows import Shadows
from penstock.gateway.traffic import Traffic
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
    """Answers `worker_id`, unless `plan` says what else shall come: an error, seconds to take, or both."""

    carrier = "fake"

    def __init__(self, endpoint: Endpoint, owner: Owner, on_change: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self.forecast = Forecast()
        self.forecast.credit, self.forecast.batch = 1_000_000, 16
        self.in_flight = 0
        self.ready = False
        self.closed = False
        self.refuses = False
        self.plan: list[Step] = []
        self.parts = 1
        self.asked: list[Question] = []
        self.generated: list[tuple[bytes, float, Pairs]] = []
        self.cancelled = 0
        self.demands: list[int] = []
        self._owner: Any = owner
        self._on_change = on_change
        self._timers: dict[Question, asyncio.TimerHandle] = {}

    @property
    def name(self) -> str:
        return self.endpoint.worker_id

    @property
    def draining(self) -> bool:
        return self.endpoint.draining

    def set_ready(self, ready: bool = True) -> None:
        self.ready = ready
        self._on_change()

    def refuse(self) -> None:
        """Say that it takes nothing new."""
        self.refuses = True
        self._on_change()

    def grant(self, rows: int) -> None:
        self.forecast.credit += rows
        self._owner.changed(self)

    def predicted(self, now: float) -> float:
        return self.forecast.completion(1, now)

    def demand(self, rows: int) -> None:
        self.demands.append(rows)

    def send(self, question: Question, now: float) -> None:
        self.asked.append(question)
        self.forecast.sent(question.rows, question.deadline, now)
        self.in_flight += 1
        question.holder = self
        seconds, error = self._next()
        loop = asyncio.get_running_loop()
        self._timers[question] = loop.call_later(seconds, self._settle, question, error)

    def _settle(self, question: Question, error: errors.PenstockError | None) -> None:
        self._forget(question)
        if error is not None:
            self._owner.failed(self, question, error)
        else:
            if question.suspect:
                self._owner.tested(self, question, True)
            question.answered(self.endpoint.worker_id.encode(), (("x-penstock-worker", "w"),))

    def _forget(self, question: Question) -> None:
        self._timers.pop(question).cancel()
        question.holder = None
        self.in_flight -= 1

    def abandon(self, question: Question) -> None:
        self._forget(question)
        self.cancelled += 1
        if question.suspect:
            self._owner.tested(self, question, False)

    def die(self) -> None:
        """With everything that it has."""
        had = list(self._timers)
        for question in had:
            self._forget(question)
        self.set_ready(False)
        self._owner.died(self, had)

    def break_off(self) -> None:
        """The connection; it comes back, and nothing had been begun."""
        had = list(self._timers)
        for question in had:
            self._forget(question)
        self._owner.returned(self, had)

    async def generate(self, request: bytes, timeout: float, metadata: Pairs) -> AsyncGenerator[bytes, None]:
        self.generated.append((request, timeout, metadata))
        try:
            for number in range(self.parts):
                seconds, error = self._next()
                await asyncio.sleep(seconds)
                if error is not None:
                    raise error
                yield f"{self.endpoint.worker_id}/{number}".encode()
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += 1
            raise

    def _next(self) -> tuple[float, errors.PenstockError | None]:
        step = self.plan.pop(0) if self.plan else 0.0
        if isinstance(step, tuple):
            return step
        return (0.0, step) if isinstance(step, errors.PenstockError) else (step, None)

    async def close(self) -> None:
        self.closed = True
        self.ready = False


class FakeComparer:
    """Says of each pair what it was told to."""

    def __init__(self, difference: Difference | None = None, room: bool = True) -> None:
        self.difference = difference
        self.room = room
        self.pairs: list[tuple[bytes, bytes]] = []

    def offer(self, one: bytes, other: bytes, told: Callable[[Difference | None], None]) -> bool:
        if self.room:
            self.pairs.append((one, other))
            told(self.difference)
        return self.room


class Farm:
    """A balancer over fakes. `made` has every subchannel ever made."""

    def __init__(self, policy: str = "round_robin", known: Directory | None = None) -> None:
        self.made: list[FakeSubchannel] = []
        self.busy = False
        self.directory = known or directory()
        connect: Any = self._connect
        routes = self.directory.routes
        self.asked_for: list[Key] = []
        outlook = Outlook(
            lambda key: is_expected(routes, *key),
            lambda key: why_unavailable(routes, *key),
            lambda key: is_on_demand(routes, *key),
            self.asked_for.append,
        )
        self.balancer = Balancer(policy, Random(1), outlook, connect)

    def _connect(self, endpoint: Endpoint, owner: Owner, on_change: Callable[[], None]) -> FakeSubchannel:
        self.made.append(FakeSubchannel(endpoint, owner, on_change))
        return self.made[-1]

    def traffic(self, compares: FakeComparer | None = None, figures: Figures | None = None) -> Traffic:
        """What serves aliases with rules."""
        routes, figures = self.directory.routes, figures or Figures()
        shadows = Shadows(self.balancer.lane, figures, compares or FakeComparer(), lambda key: False, lambda: self.busy)
        return Traffic(routes, figures, shadows, asyncio.get_running_loop().time)

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
