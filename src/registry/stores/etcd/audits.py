"""The log of control calls in etcd.

A line's id is the time of its call in milliseconds, or one more than the id before: so keys are in the order of time,
and what is too old is one range of keys. How many there are is counted once, at start, and then reckoned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from penstock.etcd.v3 import etcd_pb2

from ...state import Audit
from ...store import AUDIT_SECONDS, MAX_AUDITS
from . import keys as layout
from . import operations as ops

_PAGE = 1000
_SPARE = 1000
"""Lines too many that may be there before the oldest are forgotten: not each line costs a look at the oldest."""

Range = Callable[[etcd_pb2.RangeRequest], Awaitable[etcd_pb2.RangeResponse]]


class Audits:
    """The lines, as far as the one that leads must know them.

    Args:
        keys: their names.
        read: reads a range of keys.
        most: so many lines are kept.
    """

    def __init__(self, keys: layout.Keys, read: Range, most: int = MAX_AUDITS) -> None:
        self._keys, self._read, self._most = keys, read, most
        self._last = 0
        self._count = 0

    async def load(self) -> None:
        """Find out which line is the last, and how many there are."""
        found = await self._read(self._range(0, limit=1, keys_only=True))
        self._last = int(self._keys.parts(found.kvs[0].key)[1]) if found.kvs else 0
        self._count = found.count

    async def steps(self, audit: Audit | None) -> list[etcd_pb2.RequestOp]:
        """What adds a line to a transaction, and forgets what is too old or too much; none for no line."""
        if audit is None:
            return []
        self._last = number = max(self._last + 1, round(audit.time * 1000))
        self._count += 1
        oldest = max(0, round((audit.time - AUDIT_SECONDS) * 1000))
        if self._count > self._most + min(_SPARE, self._most):
            oldest = max(oldest, await self._first_kept())
        # Up to the line itself at most: etcd takes no transaction that removes what it writes.
        forgotten = ops.delete_before(self._keys.audits, self._keys.audit(min(oldest, number)))
        value = layout.audit_value(replace(audit, id=number))
        return [forgotten, ops.put(self._keys.audit(number), value)]

    async def _first_kept(self) -> int:
        """The id of the oldest line that stays, or less; forgotten they are counted as gone."""
        surplus = self._count - self._most
        request = self._range(0, limit=surplus, keys_only=True)
        request.sort_order = etcd_pb2.RangeRequest.NONE  # by key, and etcd reads no more than it gives
        found = await self._read(request)
        self._count = self._most
        return int(self._keys.parts(found.kvs[-1].key)[1]) + 1 if found.kvs else 0

    async def found(self, subject: str, since: float, before_id: int, limit: int) -> list[Audit]:
        """See `Store.list_audit`."""
        lines: list[Audit] = []
        while len(lines) < limit:
            page = await self._read(self._range(before_id, since, limit=_PAGE))
            for pair in page.kvs:
                audit = layout.audit_from(pair.value)
                if audit.time >= since and subject in ("", audit.subject):
                    lines.append(audit)
                before_id = audit.id
            if not page.more:
                break
        return lines[:limit]

    def _range(self, before: int, since: float = 0.0, *, limit: int, keys_only: bool = False) -> etcd_pb2.RangeRequest:
        """The newest lines with ids below `before` (0: of all), of calls since then."""
        return etcd_pb2.RangeRequest(
            key=self._keys.audit(max(0, int(since * 1000))),
            range_end=self._keys.audit(before) if before else ops.end_of(self._keys.audits),
            limit=limit,
            sort_order=etcd_pb2.RangeRequest.DESCEND,
            keys_only=keys_only,
        )
