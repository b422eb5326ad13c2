"""The log of control calls: who did what to which model, key or worker, and what came of it.

A change and its line go into the store together: whoever writes gives the store the line of the call that this task
serves. A call that wrote nothing gets its line afterwards (see `audited_servicer`).
"""

from __future__ import annotations

import time

from ..rpc.call import Call, current_call
from .state import DONE, Audit

PRINCIPAL_KEY = "x-penstock-principal"
"""The header in which gateways, which call with their own key, say for whom they call."""
NOT_AUDITED = frozenset(
    {"Watch", "ReportUse", "ReportTraffic", "FetchFile", "ReportLoad", "RegisterWorker", "RenewLease", "RevokeLease"}
)
"""What Penstock's own processes call."""
_READING = ("Get", "List", "Export", "Prepare")
_WRITTEN = "audited"
MAX_TEXT = 2000


def principal_of(call: Call) -> str:
    """Who is to stand in the history."""
    given = call.text(PRINCIPAL_KEY)
    return given if 1 <= len(given) <= 128 and given.isprintable() else call.principal.name


def is_audited(method: str) -> bool:
    """Whether calls of a method are noted: those with which operators change something; named without the service."""
    return method not in NOT_AUDITED and not method.startswith(_READING)


def line(subject: str, change: str) -> Audit | None:
    """What goes into the store together with a change; None: it is not an operator's call that makes it."""
    call = current_call.get(None)
    if call is None or not is_audited(_action(call)):
        return None
    call.facts[_WRITTEN] = True
    return entry(call, subject, change, DONE)


def is_written(call: Call) -> bool:
    """Whether a line of the call has been made."""
    return _WRITTEN in call.facts


def entry(call: Call, subject: str, change: str, outcome: str) -> Audit:
    """A line of the log, of this moment."""
    return Audit(
        round(time.time(), 3),
        principal_of(call),
        _action(call),
        subject[:MAX_TEXT],
        change[:MAX_TEXT],
        outcome,
        call.request_id,
    )


def _action(call: Call) -> str:
    return call.method.rpartition("/")[2]
