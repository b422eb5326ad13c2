"""What outlives the registry's process: the interface that a store has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .state import AliasChange, Audit, Key, Model, Worker

MAX_AUDITS = 100_000
AUDIT_SECONDS = 90 * 24 * 3600.0
"""How many lines of the log a store keeps, and for how long."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that the store holds."""

    models: tuple[Model, ...]
    workers: tuple[Worker, ...]
    """Those with a lease when the registry ended."""
    keys: tuple[Key, ...]


class Store(Protocol):
    """Where the registry's state is kept. A call that has returned has happened for ever.

    Called from the event loop, one call at a time. A method that writes may raise StorageFull, or Unavailable if the
    store cannot be reached, and then has changed nothing. Whoever calls must not be cancelled meanwhile: the change may
    have been made.
    """

    async def begin_run(self) -> int:
        """Count this start of the registry: a number greater than any before."""

    async def load(self) -> Stored:
        """Everything, at start."""

    async def save_model(
        self, before: Model | None, after: Model, changes: Sequence[AliasChange], audit: Audit | None = None
    ) -> None:
        """Write what differs, and add the changes to the history.

        With `audit`, here and below, that line goes into the log together with the change: both happen or neither.
        """

    async def grant(self, worker: Worker) -> Worker:
        """Note a lease; the same worker with an epoch greater than any before. An older lease of it is gone."""

    async def save_worker(self, worker: Worker, audit: Audit | None = None) -> None:
        """Note what became of a worker with a lease."""

    async def drop_workers(self, worker_ids: Iterable[str]) -> None:
        """Forget leases."""

    async def save_key(self, key: Key, audit: Audit | None = None) -> None:
        """Note a key."""

    async def drop_key(self, key_id: str, audit: Audit | None = None) -> None:
        """Forget a key."""

    async def save_audit(self, audit: Audit) -> None:
        """Add a line to the log, of a call that changed nothing. Lines beyond the bounds of `audit` are forgotten."""

    async def list_audit(self, subject: str, since: float, before_id: int, limit: int) -> list[Audit]:
        """Lines of the log, the newest first.

        Args:
            subject: empty: all.
            since: unix seconds.
            before_id: lines with smaller ids; 0: all.
            limit: so many at most.
        """

    async def close(self) -> None:
        """Let go of it; nothing is lost without."""
