"""The store in one SQLite file: WAL, synced at each commit, so that what was acknowledged survives a loss of power.

Every write is one transaction that begins IMMEDIATE: one that reads first and writes later fails with
SQLITE_BUSY_SNAPSHOT, whatever the timeout.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ...errors import StorageFull
from ...rpc.messages import signature_from_message, signature_to_message
from .. import records
from ..rules import remembered
from ..state import AliasChange, Audit, Key, Model, Placement, Settings, Version, Worker
from ..store import Stored
from . import audits
from .migrations import migrate

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SqliteStore:
    """The store in one SQLite file, on a thread of its own: a commit waits for the disk, the event loop does not.

    Args:
        path: the file; made if it is not there, brought up to date if an older release wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self._tables = Tables(path)

    async def begin_run(self) -> int:
        """See Store."""
        return await self._do(self._tables.begin_run)

    async def load(self) -> Stored:
        """See Store."""
        return await self._do(self._tables.load)

    async def save_model(
        self, before: Model | None, after: Model, changes: Sequence[AliasChange], audit: Audit | None = None
    ) -> None:
        """See Store."""
        await self._do(self._tables.save_model, before, after, changes, audit)

    async def grant(self, worker: Worker) -> Worker:
        """See Store."""
        return await self._do(self._tables.grant, worker)

    async def save_worker(self, worker: Worker, audit: Audit | None = None) -> None:
        """See Store."""
        await self._do(self._tables.save_worker, worker, audit)

    async def drop_workers(self, worker_ids: Iterable[str]) -> None:
        """See Store."""
        await self._do(self._tables.drop_workers, list(worker_ids))

    async def save_key(self, key: Key, audit: Audit | None = None) -> None:
        """See Store."""
        await self._do(self._tables.save_key, key, audit)

    async def drop_key(self, key_id: str, audit: Audit | None = None) -> None:
        """See Store."""
        await self._do(self._tables.drop_key, key_id, audit)

    async def save_audit(self, audit: Audit) -> None:
        """See Store."""
        await self._do(self._tables.save_audit, audit)

    async def list_audit(self, subject: str, since: float, before_id: int, limit: int) -> list[Audit]:
        """See Store."""
        return await self._do(self._tables.list_audit, subject, since, before_id, limit)

    async def close(self) -> None:
        """See Store."""
        await self._do(self._tables.close)
        self._thread.shutdown()

    async def _do(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


class Tables:
    """What is in the file. Any thread may call it, one at a time."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            migrate(self._db)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def _transaction(self, audit: Audit | None = None) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            if audit is not None:
                audits.add(self._db, audit)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFull("the registry's disk is full; make room there and try again") from None
            raise
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def begin_run(self) -> int:
        """As the store's."""
        with self._transaction() as db:
            db.execute("INSERT INTO meta VALUES ('runs', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1")
            db.execute("INSERT OR IGNORE INTO meta VALUES ('registry_id', ?)", (secrets.randbits(63),))
            (runs,) = db.execute("SELECT value FROM meta WHERE key = 'runs'").fetchone()
        return int(runs)

    def load(self) -> Stored:
        """As the store's."""
        models: dict[str, Model] = {}
        for name, *row in self._db.execute(
            "SELECT model, manifest, signature, placement, instances, device, memory FROM versions ORDER BY seq"
        ):
            model = models.get(name) or Model(name)
            models[name] = replace(model, versions=(*model.versions, _version(*row)))
        loaded = [self._with_settings(self._with_aliases(model)) for model in models.values()]
        leases = self._db.execute("SELECT epoch, worker FROM leases ORDER BY epoch")
        workers = [replace(_worker(blob), epoch=epoch) for epoch, blob in leases]
        rows = self._db.execute("SELECT key_id, name, scopes, sha256, created FROM keys ORDER BY created, key_id")
        keys = [Key(i, name, tuple(scopes.split()), sha256, created) for i, name, scopes, sha256, created in rows]
        return Stored(tuple(loaded), tuple(workers), tuple(keys), self._registry_id())

    def _registry_id(self) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'registry_id'").fetchone()
        return f"{row[0]:016x}" if row else ""

    def _with_aliases(self, model: Model) -> Model:
        aliases = self._db.execute("SELECT alias, version FROM aliases WHERE model = ?", (model.name,))
        changes = self._db.execute(
            "SELECT alias, version, previous, time, principal FROM alias_changes WHERE model = ? ORDER BY seq",
            (model.name,),
        )
        history = tuple(AliasChange(*row) for row in changes)
        return replace(model, aliases=dict(aliases.fetchall()), changes=remembered(history))

    def _with_settings(self, model: Model) -> Model:
        row = self._db.execute("SELECT settings FROM settings WHERE model = ?", (model.name,)).fetchone()
        return model if row is None else replace(model, settings=_settings(*row))

    def save_model(
        self, before: Model | None, after: Model, changes: Sequence[AliasChange], audit: Audit | None = None
    ) -> None:
        """As the store's."""
        known = {v.number: v for v in before.versions} if before else {}
        with self._transaction(audit) as db:
            left = {version.number for version in after.versions}
            gone = [(after.name, number) for number in known if number not in left]
            db.executemany("DELETE FROM versions WHERE model = ? AND version = ?", gone)
            for version in after.versions:
                if known.get(version.number) != version:
                    _save_version(db, version)
            if before is None or before.aliases != after.aliases:
                db.execute("DELETE FROM aliases WHERE model = ?", (after.name,))
                rows = [(after.name, alias, number) for alias, number in after.aliases.items()]
                db.executemany("INSERT INTO aliases VALUES (?, ?, ?)", rows)
            if before is None or before.settings != after.settings:
                blob = records.settings_to_message(after.settings).SerializeToString()
                db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (after.name, blob))
            db.executemany(
                "INSERT INTO alias_changes (model, alias, version, previous, time, principal)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [(after.name, c.alias, c.version, c.previous, c.time, c.principal) for c in changes],
            )

    def grant(self, worker: Worker) -> Worker:
        """As the store's."""
        blob = records.worker_to_message(worker).SerializeToString()
        with self._transaction() as db:
            db.execute("DELETE FROM leases WHERE worker_id = ?", (worker.worker_id,))
            row = db.execute("INSERT INTO leases (worker_id, worker) VALUES (?, ?)", (worker.worker_id, blob))
            epoch = row.lastrowid
        assert epoch is not None
        return replace(worker, epoch=epoch)

    def save_worker(self, worker: Worker, audit: Audit | None = None) -> None:
        """As the store's."""
        blob = records.worker_to_message(worker).SerializeToString()
        with self._transaction(audit) as db:
            db.execute("UPDATE leases SET worker = ? WHERE epoch = ?", (blob, worker.epoch))

    def drop_workers(self, worker_ids: Iterable[str]) -> None:
        """As the store's."""
        with self._transaction() as db:
            db.executemany("DELETE FROM leases WHERE worker_id = ?", [(worker_id,) for worker_id in worker_ids])

    def save_key(self, key: Key, audit: Audit | None = None) -> None:
        """As the store's."""
        row = (key.key_id, key.name, " ".join(key.scopes), key.sha256, key.created)
        with self._transaction(audit) as db:
            db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", row)

    def drop_key(self, key_id: str, audit: Audit | None = None) -> None:
        """As the store's."""
        with self._transaction(audit) as db:
            db.execute("DELETE FROM keys WHERE key_id = ?", (key_id,))

    def save_audit(self, audit: Audit) -> None:
        """As the store's."""
        with self._transaction(audit):
            pass

    def list_audit(self, subject: str, since: float, before_id: int, limit: int) -> list[Audit]:
        """As the store's."""
        return audits.found(self._db, subject, since, before_id, limit)


def _save_version(db: sqlite3.Connection, version: Version) -> None:
    manifest = version.manifest
    signature = signature_to_message(version.signature).SerializeToString() if version.signature else None
    placed = (int(version.placement), version.instances, version.device, version.memory)
    db.execute(
        "INSERT INTO versions (model, version, manifest, signature, placement, instances, device, memory)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (model, version) DO UPDATE SET signature = excluded.signature,"
        " placement = excluded.placement, instances = excluded.instances, device = excluded.device,"
        " memory = excluded.memory",
        (
            manifest.name,
            manifest.version,
            records.manifest_to_message(manifest).SerializeToString(),
            signature,
            *placed,
        ),
    )


def _version(
    manifest: bytes, signature: bytes | None, placement: int, instances: int, device: str, memory: int
) -> Version:
    return Version(
        records.manifest_from_message(model_pb2.Manifest.FromString(manifest)),
        signature_from_message(model_pb2.Signature.FromString(signature)) if signature is not None else None,
        Placement(placement),
        instances,
        device,
        memory,
    )


def _settings(blob: bytes) -> Settings:
    return records.settings_from_message(pb.ModelSettings.FromString(blob))


def _worker(blob: bytes) -> Worker:
    return records.worker_from_message(pb.WorkerRecord.FromString(blob))
