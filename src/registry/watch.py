"""Who follows the registry, and what each has yet to be told.

The hub holds the present record of every model, worker and key. A watcher's backlog is a set of names, not a queue of
events: records are whole, so that only the last one counts, and a follower that never reads costs no more than one name
for each thing. Names of things that are gone could still pile up, since workers' ids are never used twice: a backlog
above a bound becomes a snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

from .state import Key, ModelView, Worker

MAX_BACKLOG = 10_000


class Kind(Enum):
    """What a record is about."""

    MODEL = auto()
    WORKER = auto()
    KEY = auto()


Record = ModelView | Worker | Key
Name = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Update:
    """What a follower is told at once."""

    revision: int
    snapshot: bool
    """These are all records there are: forget the others."""
    records: tuple[Record, ...]
    """New or changed; in no order."""
    removed: tuple[Name, ...] = ()


class Hub:
    """The present records. To be used from the event loop only; changes made without awaiting go out together."""

    def __init__(self, revision: int = 0, registry_id: str = "") -> None:
        self.revision = revision
        self.registry_id = registry_id
        self.confirmed = 0
        """The revision at which an operator last confirmed that what is not here is gone. 0: never."""
        self._records: dict[Name, Record] = {}
        self._watchers: set[Watcher] = set()
        self._closed: Exception | None = None

    def put(self, kind: Kind, name: str, record: Record) -> None:
        """Tell a record, unless it is known like this already."""
        if self._records.get((kind, name)) != record:
            self._records[kind, name] = record
            self._note((kind, name))

    def remove(self, kind: Kind, name: str) -> None:
        """Tell that a record is gone, if there was one."""
        if self._records.pop((kind, name), None) is not None:
            self._note((kind, name))

    def _note(self, name: Name) -> None:
        self.revision += 1
        for watcher in self._watchers:
            watcher.note(name)

    def confirm(self) -> None:
        """Tell that what is not here is gone, whatever followers make of it."""
        self.revision += 1
        self.confirmed = self.revision
        for watcher in self._watchers:
            watcher.wake()

    def close(self, error: Exception) -> None:
        """End all watchers, and those to come, with this error."""
        self._closed = error
        for watcher in self._watchers:
            watcher.wake()

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """A watcher that first gets a snapshot."""
        watcher = Watcher(self)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def snapshot(self) -> Update:
        """Everything."""
        return Update(self.revision, True, tuple(self._records.values()))

    def update(self, names: set[Name]) -> Update:
        """The present records of these names."""
        records = tuple(self._records[name] for name in names if name in self._records)
        return Update(self.revision, False, records, tuple(name for name in names if name not in self._records))

    def raise_if_closed(self) -> None:
        """Raise what `close` was given."""
        if self._closed is not None:
            raise self._closed


class Watcher:
    """One follower's place. Belongs to the task that reads it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._behind: set[Name] | None = None
        """What it has yet to be told; None: everything."""
        self._wake = asyncio.Event()
        self._wake.set()

    async def next(self) -> Update:
        """Wait until there is something to tell; raises the hub's error when that is closed."""
        await self._wake.wait()
        self._hub.raise_if_closed()
        self._wake.clear()
        behind, self._behind = self._behind, set()
        return self._hub.snapshot() if behind is None else self._hub.update(behind)

    def note(self, name: Name) -> None:
        """The hub's: this has changed."""
        if self._behind is not None:
            self._behind.add(name)
            if len(self._behind) > MAX_BACKLOG:
                self._behind = None
        self._wake.set()

    def wake(self) -> None:
        """The hub's: look whether it is closed, or confirmed."""
        self._wake.set()
