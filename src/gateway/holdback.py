"""Between the registry's words and the directory: what the registry forgets is held back while it works (see removals).

Workers are held back that a believed registry drops without a reason, more than half of a model's at a time. A registry
that is not believed (see lineage) takes over model by model: as soon as it serves one, or nothing old answers for it;
until then the old record, the old workers and the old keys stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..lineage import Lineage
from .peek import DEFAULT_ALIAS
from .removals import LET_GO_S, WINDOW_S, Listed, is_overtaken, is_too_much, unexplained

Workers = dict[str, pb.WorkerRecord]

log = logging.getLogger("penstock.gateway")


class _View:
    """Records by their names."""

    def __init__(self) -> None:
        self.models: dict[str, pb.ModelRecord] = {}
        self.workers: Workers = {}
        self.keys: dict[str, pb.KeyRecord] = {}

    def apply(self, change: pb.WatchResponse) -> None:
        if change.snapshot:
            self.models, self.workers, self.keys = {}, {}, {}
        self.models |= {model.name: model for model in change.models}
        self.workers |= {worker.worker_id: worker for worker in change.workers}
        self.keys |= {key.key_id: key for key in change.keys}
        for worker_id in change.removed_workers:
            self.workers.pop(worker_id, None)
        for key_id in change.removed_keys:
            self.keys.pop(key_id, None)

    def by_model(self) -> dict[str, Workers]:
        found: dict[str, Workers] = {}
        for worker_id, worker in self.workers.items():
            found.setdefault(worker.name, {})[worker_id] = worker
        return found

    def snapshot(self) -> pb.WatchResponse:
        everything = {"models": self.models.values(), "workers": self.workers.values(), "keys": self.keys.values()}
        return pb.WatchResponse(snapshot=True, **everything)  # type: ignore[arg-type]


class HoldBack:
    """What to believe. `now` is in the event loop's time.

    Args:
        answers: whether a connection to a worker is up, or was not tried yet.
        leaving: whether a worker has said that it drains.
    """

    def __init__(
        self, answers: Callable[[pb.WorkerRecord], bool], leaving: Callable[[pb.WorkerRecord], bool] = lambda _: False
    ) -> None:
        self.held: frozenset[str] = frozenset()
        """The workers that are shown although the registry does not list them."""
        self._reached = answers
        self._leaving = leaving
        self._lineage = Lineage()
        self._told, self._shown = _View(), _View()
        self._removed: dict[str, list[tuple[float, int]]] = {}
        """By model: when how many workers were removed without a reason, in the last minute."""
        self._silent: dict[str, float] = {}
        """Since when a worker that is held back has not answered."""

    def restore(self, state: pb.WatchResponse) -> None:
        """Begin with what `state` gave to an earlier process."""
        self._lineage.restore(state.registry_id, state.revision)
        self._told.apply(state)
        self._shown.apply(state)

    def state(self) -> pb.WatchResponse:
        """Everything that is shown, and who said it."""
        state = self._shown.snapshot()
        state.registry_id, state.revision = self._lineage.registry_id, self._lineage.revision
        return state

    def take(self, change: pb.WatchResponse, now: float) -> pb.WatchResponse:
        """Take in what the registry says; returns what to show instead."""
        if self._lineage.heard(
            change.registry_id, change.revision, snapshot=change.snapshot, confirmed=change.confirmed_revision
        ):
            log.warning("an operator has confirmed that what the registry does not list is gone")
            self._told.apply(change)
            return self._show(self._told, frozenset())
        self._told.apply(change)
        if self._is_harmless(change, now):
            self._shown.apply(change)
            return change
        return self._settle(now)

    def review(self, now: float) -> pb.WatchResponse | None:
        """Look again at what is held back; to be called every second or so. None: nothing has changed."""
        before = self.held
        if not before:
            return None
        shown = self._settle(now)
        return None if self.held == before else shown

    def _is_harmless(self, change: pb.WatchResponse, now: float) -> bool:
        """Whether a change can be shown as it is, as nearly all can."""
        if change.snapshot or not self._lineage.believed:
            return False
        gone = [self._shown.workers[id_] for id_ in change.removed_workers if id_ in self._shown.workers]
        touched = {worker.name for worker in (*gone, *change.workers)} | {model.name for model in change.models}
        if self.held:
            return not gone and touched.isdisjoint(self._shown.workers[id_].name for id_ in self.held)
        if not gone:
            return True
        old, listed = self._shown.by_model(), self._told.by_model()
        removed = {name: self._removal(name, old[name], listed.get(name, {}), now) for name in touched & old.keys()}
        if any(too_much for _, too_much in removed.values()):
            return False
        for name, (ids, _) in removed.items():
            self._note(name, ids, now)
        return True

    def _settle(self, now: float) -> pb.WatchResponse:
        """Decide for every model."""
        shown, held = _View(), set[str]()
        old, listed = self._shown.by_model(), self._told.by_model()
        for name in sorted(self._shown.models.keys() | self._told.models.keys() | listed.keys()):
            after = listed.get(name, {})
            # One that is listed for another model is not forgotten.
            before = {id_: w for id_, w in old.get(name, {}).items() if id_ in after or id_ not in self._told.workers}
            record = self._told.models.get(name)
            if self._lineage.believed:
                removed, too_much = self._removal(name, before, after, now)
                kept = removed if too_much else set()
                record = record or (self._shown.models.get(name) if kept else None)
                self._note(name, removed - kept, now)
            elif is_overtaken(self._listed(before.values(), now), _serves(record, after.values())):
                kept = set()
            else:
                kept = {id_ for id_, worker in before.items() if worker.epoch and id_ not in after}
                record = self._shown.models.get(name, record)
            if record is not None:
                shown.models[name] = record
            shown.workers |= {worker_id: before[worker_id] for worker_id in kept} | after
            held |= kept
        if not held:
            self._lineage.adopt()
            return self._show(self._told, frozenset())
        shown.keys = self._told.keys if self._lineage.believed else self._shown.keys | self._told.keys
        return self._show(shown, frozenset(held))

    def _removal(self, name: str, before: Workers, after: Workers, now: float) -> tuple[set[str], bool]:
        """The workers of a model that a believed registry drops without a reason, and whether it is too many."""
        model = self._told.models.get(name) or self._shown.models.get(name)
        wanted = {v.manifest.version: v.desired_instances for v in model.versions} if model else {}
        removed = set(unexplained(self._listed(before.values(), now), after, wanted))
        remaining = sum(worker.answers and not worker.leaving for worker in self._listed(after.values(), now))
        recently = sum(count for when, count in self._removed.get(name, ()) if now - when < WINDOW_S)
        return removed, is_too_much(len(removed), recently, remaining)

    def _note(self, name: str, removed: Collection[str], now: float) -> None:
        """These were believed to be gone."""
        if removed:
            recent = [(when, count) for when, count in self._removed.get(name, ()) if now - when < WINDOW_S]
            self._removed[name] = [*recent, (now, len(removed))]

    def _listed(self, workers: Iterable[pb.WorkerRecord], now: float) -> list[Listed]:
        return [
            Listed(
                worker.worker_id,
                worker.version,
                self._answers(worker, now),
                worker.state == model_pb2.MODEL_STATE_UNLOADING or self._leaving(worker),
            )
            for worker in workers
            if worker.epoch
        ]

    def _answers(self, worker: pb.WorkerRecord, now: float) -> bool:
        worker_id = worker.worker_id
        if self._reached(worker):
            self._silent.pop(worker_id, None)
            return True
        return worker_id in self.held and now - self._silent.setdefault(worker_id, now) < LET_GO_S

    def _show(self, view: _View, held: frozenset[str]) -> pb.WatchResponse:
        if held - self.held:
            names = sorted({view.workers[worker_id].name for worker_id in held})
            text = (
                "the registry no longer lists %d workers that answer (of %s): requests go on to them until they fail; "
                "if they are meant to be gone: penstock confirm-removal"
            )
            log.error(text, len(held), ", ".join(names[:8]) + (", …" if len(names) > 8 else ""))
        elif self.held and not held:
            log.warning("nothing that the registry does not list is held back any longer")
        self.held = held
        self._silent = {worker_id: since for worker_id, since in self._silent.items() if worker_id in held}
        self._removed = {name: removed for name, removed in self._removed.items() if name in view.models}
        self._shown = _View()
        snapshot = view.snapshot()
        self._shown.apply(snapshot)
        return snapshot


def _serves(model: pb.ModelRecord | None, workers: Iterable[pb.WorkerRecord]) -> bool:
    """Whether a worker has a lease for what requests mean that name no version."""
    stable = model.aliases.get(DEFAULT_ALIAS) if model else None
    return any(worker.epoch and worker.version == stable for worker in workers)
