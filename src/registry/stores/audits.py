"""The log of control calls in the SQLite store."""

from __future__ import annotations

import sqlite3

from ..state import Audit
from ..store import AUDIT_SECONDS, MAX_AUDITS

_COLUMNS = "time, principal, action, subject, change, outcome, request_id"


def add(db: sqlite3.Connection, audit: Audit) -> None:
    """Add a line within the caller's transaction, and forget what is older or more than is kept."""
    row = (audit.time, audit.principal, audit.action, audit.subject, audit.change, audit.outcome, audit.request_id)
    added = db.execute(f"INSERT INTO audit ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    assert added.lastrowid is not None
    db.execute("DELETE FROM audit WHERE id <= ?", (added.lastrowid - MAX_AUDITS,))
    db.execute("DELETE FROM audit WHERE time < ?", (audit.time - AUDIT_SECONDS,))


def found(db: sqlite3.Connection, subject: str, since: float, before_id: int, limit: int) -> list[Audit]:
    """As the store's `list_audit`."""
    conditions, values = ["time >= ?"], [since]
    if subject:
        conditions.append("subject = ?")
        values.append(subject)  # type: ignore[arg-type]
    if before_id:
        conditions.append("id < ?")
        values.append(before_id)
    where = " AND ".join(conditions)
    rows = db.execute(f"SELECT {_COLUMNS}, id FROM audit WHERE {where} ORDER BY id DESC LIMIT ?", (*values, limit))
    return [Audit(*row) for row in rows]
