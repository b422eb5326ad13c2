"""What outlives the registry's process: the interface that a store has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .state import AliasChange, Key, Model, Worker


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that the store holds."""

    models: tuple[Model, ...]
    workers: tuple[Worker, ...]
    """Those with a lease when the registry ended."""
    keys: tuple[Key, ...]


class Store(Protocol):
    """Where the registry's state is kept. A call that has returned has happened for ever.

    Called from one thread. Every method that writes may raise StorageFull, and then has changed nothing.
    """

    def begin_run(self) -> int:
        """Count this start of the registry: a number greater than any before."""

    def load(self) -> Stored:
        """Everything, at start."""

    def save_model(self, before: Model | None, after: Model, changes: Sequence[AliasChange]) -> None:
        """Write what differs, and add the changes to the history."""

    def grant(self, worker: Worker) -> Worker:
        """Note a lease; the same worker with an epoch greater than any before. An older lease of it is gone."""

    def save_worker(self, worker: Worker) -> None:
        """Note what became of a worker with a lease."""

    def drop_workers(self, worker_ids: Iterable[str]) -> None:
        """Forget leases."""

    def save_key(self, key: Key) -> None:
        """Note a key."""

    def drop_key(self, key_id: str) -> None:
        """Forget a key."""

    def close(self) -> None:
        """Let go of it; nothing is lost without."""
