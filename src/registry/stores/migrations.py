"""The tables of the SQLite store, and how an older file becomes the present one.

`PRAGMA user_version` counts the steps that a file has seen. A step is never changed once released: add another.
"""

from __future__ import annotations

import sqlite3

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
        """CREATE TABLE versions (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of publication
            model TEXT NOT NULL, version INTEGER NOT NULL,
            manifest BLOB NOT NULL, -- penstock.v1.Manifest
            signature BLOB, -- penstock.v1.Signature
            placement INTEGER NOT NULL, instances INTEGER NOT NULL, device TEXT NOT NULL,
            UNIQUE (model, version)) STRICT""",
        """CREATE TABLE aliases (
            model TEXT NOT NULL, alias TEXT NOT NULL, version INTEGER NOT NULL,
            PRIMARY KEY (model, alias)) STRICT""",
        """CREATE TABLE alias_changes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            model TEXT NOT NULL, alias TEXT NOT NULL, version INTEGER NOT NULL, previous INTEGER NOT NULL,
            time REAL NOT NULL, principal TEXT NOT NULL) STRICT""",
        # AUTOINCREMENT: an epoch is never given twice, not even after its row is gone.
        """CREATE TABLE leases (
            epoch INTEGER PRIMARY KEY AUTOINCREMENT,
            worker_id TEXT NOT NULL UNIQUE,
            worker BLOB NOT NULL) STRICT -- penstock.v1.WorkerRecord""",
        """CREATE TABLE keys (
            key_id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL,
            sha256 BLOB NOT NULL, created REAL NOT NULL) STRICT""",
    ),
    (
        """CREATE TABLE settings (
            model TEXT PRIMARY KEY,
            settings BLOB NOT NULL) STRICT -- penstock.v1.ModelSettings""",
    ),
    ("ALTER TABLE versions ADD COLUMN memory INTEGER NOT NULL DEFAULT 0",),
    (
        """CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            time REAL NOT NULL, principal TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL,
            change TEXT NOT NULL, outcome TEXT NOT NULL, request_id TEXT NOT NULL) STRICT""",
        "CREATE INDEX audit_time ON audit (time)",
        "CREATE INDEX audit_subject ON audit (subject, id)",
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file up to date, step by step; each step happens wholly or not at all.

    Raises:
        ValueError: a newer release has written the file.
    """
    (seen,) = connection.execute("PRAGMA user_version").fetchone()
    if seen > len(STEPS):
        raise ValueError(
            f"the registry's store is of format {seen}, and this release knows none above {len(STEPS)}: "
            "start the newer penstock that wrote it, or use another --data-dir"
        )
    for number, step in enumerate(STEPS[seen:], start=seen + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in step:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
