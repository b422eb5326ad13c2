"""`audit`: who changed what, or tried to."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from penstock.v1 import registry_pb2 as pb

from .control import TIMEOUT, Control, control
from .options import Address, ApiKey, Format, Output
from .output import print_rows

PAGE = 1000
_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(audit)


def audit(
    name: Annotated[str | None, typer.Argument(help="A model, a key's id or owner; none: all.")] = None,
    since: Annotated[str, typer.Option(help="From then on: 30m, 2h, 7d, or 2026-01-31T12:00.")] = "",
    limit: Annotated[int, typer.Option(help="The most lines; 0: all.")] = 100,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Show every call that changed something, or was refused: the newest first, of the last 90 days."""
    request = pb.ListAuditRequest(subject=name or "", page_size=PAGE)
    if since:
        request.since.FromDatetime(read_time(since, datetime.now(UTC)))
    with control(address, api_key) as registry:
        entries = _entries(registry, request, limit)
    columns = ["Time", "By", "Action", "Subject", "Change", "Outcome"]
    if output is Format.JSON:
        columns += ["Id", "Request id"]
    rows = [
        (e.time.ToJsonString(), e.principal, e.action, e.subject, e.change, e.outcome, e.id, e.request_id)
        for e in entries
    ]
    print_rows(output, columns, [row[: len(columns)] for row in rows])


def _entries(registry: Control, request: pb.ListAuditRequest, limit: int) -> list[pb.AuditEntry]:
    """Page by page, until there is no more or enough."""
    found: list[pb.AuditEntry] = []
    while True:
        page = registry.stub.ListAudit(request, timeout=TIMEOUT, metadata=registry.metadata).entries
        found.extend(page)
        if len(page) < PAGE or (limit and len(found) >= limit):
            return found[:limit] if limit else found
        request.before_id = page[-1].id


def read_time(text: str, now: datetime) -> datetime:
    """`2h` before now, or a date with or without time, of this host's time zone if it names none."""
    ago = _AGO.fullmatch(text)
    if ago:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time: 30m, 2h, 7d, or 2026-01-31T12:00", param_hint="--since"
        ) from None
    return said.astimezone(UTC)
