"""The gateway's view of the registry: the last known state, what routing needs of it, who hears of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable

from penstock.v1 import model_pb2, traffic_pb2
from penstock.v1 import registry_pb2 as pb

from ..rpc.access import ApiKey, Principal
from .endpoint import Endpoint
from .routing import RULED, Route, State
from .splitting import Mirror, Rules

Listener = Callable[[set[str]], None]
"""Told the names of the models that changed."""


class Directory:
    """Changed only by the resolver; read by everything in the gateway, without waiting."""

    def __init__(self) -> None:
        self.known = False
        """Whether there ever was a state; without one, nothing can be said to be missing."""
        self.models: dict[str, pb.ModelRecord] = {}
        self.workers: dict[str, pb.WorkerRecord] = {}
        self.held: Collection[str] = ()
        """The workers that are here although the registry no longer lists them. Set by the resolver."""
        self.routes: dict[str, Route] = {}
        self.keys: dict[str, ApiKey] = {}
        self._key_records: dict[str, pb.KeyRecord] = {}
        self._listeners: list[Listener] = []
        self._generation = asyncio.Event()
        self._history: dict[str, int] = {}
        self._changes = 0

    def listen(self, listener: Listener) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    def apply(self, change: pb.WatchResponse) -> None:
        """Take in what the registry sent. A snapshot replaces everything."""
        changed = {model.name for model in change.models} | {worker.name for worker in change.workers}
        if change.snapshot:
            changed |= self.models.keys()
            self.models, self.workers, self._key_records = {}, {}, {}
        changed |= {self.workers[id_].name for id_ in change.removed_workers if id_ in self.workers}
        self.models |= {model.name: model for model in change.models}
        self.workers |= {worker.worker_id: worker for worker in change.workers}
        self._key_records |= {key.key_id: key for key in change.keys}
        for worker_id in change.removed_workers:
            self.workers.pop(worker_id, None)
        for key_id in change.removed_keys:
            self._key_records.pop(key_id, None)
        if change.snapshot or change.keys or change.removed_keys:
            self.keys = {key.key_id: _key(key) for key in self._key_records.values()}
        self.known = True
        self._derive(changed)

    def _derive(self, changed: set[str]) -> None:
        for name in changed:
            self.routes.pop(name, None)
            if name in self.models:
                self.routes[name] = _route(self.models[name])
        self._changes += 1
        self._history |= dict.fromkeys(changed, self._changes)
        for listener in self._listeners:
            listener(changed)
        generation, self._generation = self._generation, asyncio.Event()
        generation.set()

    def endpoints(self) -> Iterable[Endpoint]:
        """All workers with a lease."""
        return [_endpoint(worker) for worker in self.workers.values() if worker.epoch]

    def workers_of(self, name: str) -> list[pb.WorkerRecord]:
        """The workers of a model, loading ones too."""
        return [worker for worker in self.workers.values() if worker.name == name]

    async def changes(self) -> AsyncIterator[set[str]]:
        """The names of all models, then of those that changed since the last time; what comes fast is told at once."""
        seen = self._changes
        yield set(self.models)
        while True:
            if self._changes == seen:
                await self._generation.wait()
            changed = {name for name, change in self._history.items() if change > seen}
            seen = self._changes
            yield changed

    def state(self) -> pb.WatchResponse:
        """Everything, as a snapshot that `apply` takes."""
        return pb.WatchResponse(
            snapshot=True,
            models=self.models.values(),
            workers=self.workers.values(),
            keys=self._key_records.values(),
        )


def _route(model: pb.ModelRecord) -> Route:
    single = {v.manifest.version for v in model.versions if v.HasField("signature") and not v.signature.batch_dimension}
    on_demand = {v.manifest.version for v in model.versions if v.on_demand}
    states = {v.manifest.version: _state(v) for v in model.versions}
    available = frozenset(version for version, state in states.items() if state is State.SERVING)
    rules = {
        traffic.alias: _rules(model, traffic, available)
        for traffic in model.settings.traffic
        if traffic.alias in model.aliases and (traffic.HasField("split") or traffic.HasField("shadow"))
    }
    return Route(
        dict(model.aliases) | dict.fromkeys(rules, RULED), states, frozenset(single), frozenset(on_demand), rules
    )


def _rules(model: pb.ModelRecord, traffic: traffic_pb2.AliasTraffic, available: frozenset[int]) -> Rules:
    shadow = traffic.shadow
    return Rules(
        model.name,
        traffic.alias,
        model.aliases[traffic.alias],
        traffic.revision,
        tuple((part.version, part.weight) for part in traffic.split.parts if part.weight > 0),
        traffic.split.sticky_key,
        available,
        Mirror(shadow.version, shadow.share, shadow.tolerance, shadow.revision) if shadow.share > 0 else None,
    )


def _state(version: pb.VersionRecord) -> State:
    if version.state == model_pb2.MODEL_STATE_AVAILABLE:
        return State.SERVING
    if version.load_error and (version.desired_instances or version.waits):
        return State.FAILED
    if version.waits or version.state in (model_pb2.MODEL_STATE_START, model_pb2.MODEL_STATE_LOADING):
        return State.LOADING
    return State.ASLEEP if version.on_demand else State.UNDEPLOYED


def _endpoint(worker: pb.WorkerRecord) -> Endpoint:
    draining = worker.state == model_pb2.MODEL_STATE_UNLOADING
    where = worker.address, draining, worker.local_address
    return Endpoint(worker.worker_id, worker.epoch, worker.name, worker.version, *where)


def _key(key: pb.KeyRecord) -> ApiKey:
    return ApiKey(key.key_id, key.sha256, Principal(key.name, frozenset(key.scopes)))
