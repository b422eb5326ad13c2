"""How many rows each gateway may send: the room that a worker has, shared out by demand. Decisions only.

A gateway that is alone holds all of the room. Several hold equal shares while little waits; when more waits than fits,
those who have it waiting get the room by how much that is, and the others keep a small reserve, so that a lone request
goes at once. What an idle one holds beyond that is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_RESERVE_SHARE = 4
"""All reserves together are a batch divided by this, but at least one row each."""
_QUIET_SHARE = 4
"""Grants below a batch divided by this are not worth a message of their own."""


@dataclass(slots=True)
class Account:
    """What a gateway has been granted and has not used, and what it could use."""

    unused: int = 0
    """In rows. Below zero after a request of more rows than it had."""
    waiting: int = 0
    """Rows that wait in the gateway, as far as it has said."""
    slack: int = 0
    """Rows that it may have sent before it heard that they were taken back."""
    turn: int = 0
    """When it was granted something last, counted in grants."""

    @property
    def overdrawn(self) -> bool:
        """It has sent more than one request too many. A request may be greater than what is left of the credit."""
        return self.unused < -self.slack


def reserve(batch: int, sessions: int) -> int:
    """Rows that a session may have even if it does nothing.

    Args:
        batch: the most rows that run together.
        sessions: how many there are.
    """
    return max(1, batch // (_RESERVE_SHARE * sessions))


def changes(room: int, batch: int, accounts: Sequence[Account]) -> list[int]:
    """What to grant to each now; below zero: to take back.

    Args:
        room: rows that the worker should have on their way, see `Engine.room`.
        batch: the most rows that run together.
        accounts: the sessions.

    Returns:
        So that afterwards no more than `room` is granted and unused, unless more was so before.
    """
    if room <= 0:  # also who has sent too much waits for room
        return [0] * len(accounts)
    free = max(room - sum(account.unused for account in accounts), 0)
    if len(accounts) == 1:
        return [free]
    targets = _targets(room, batch, accounts)
    wanted = [target - account.unused for target, account in zip(targets, accounts, strict=True)]
    grants = [max(change, 0) for change in wanted]
    if sum(grants) <= free:
        return grants
    taken = [
        change if change < 0 and -change >= batch // _QUIET_SHARE and not account.waiting else 0
        for change, account in zip(wanted, accounts, strict=True)
    ]
    total = room - sum(account.unused for account in accounts) - sum(taken)
    granted = _divided(min(max(total, 0), sum(grants)), grants, accounts)
    return [back or grant for back, grant in zip(taken, granted, strict=True)]


def _targets(room: int, batch: int, accounts: Sequence[Account]) -> list[int]:
    """What each should have, granted and unused; together `room`."""
    count = len(accounts)
    least = min(reserve(batch, count), room // count)
    rest = room - least * count
    demand = [max(account.waiting - least, 0) for account in accounts]
    spare = rest - sum(demand)
    if spare < 0:
        shares = _divided(rest, demand, accounts)
    else:
        shares = [wants + more for wants, more in zip(demand, _divided(spare, [1] * count, accounts), strict=True)]
    return [least + share for share in shares]


def _divided(rows: int, weights: Sequence[int], accounts: Sequence[Account]) -> list[int]:
    """So many rows in proportion. What does not go up goes by turns, so that nobody is passed over again and again."""
    total = sum(weights)
    if not total:
        return [0] * len(weights)
    parts = [rows * weight // total for weight in weights]
    turns = sorted((i for i, weight in enumerate(weights) if weight), key=lambda i: accounts[i].turn)
    for index in turns[: rows - sum(parts)]:
        parts[index] += 1
    return parts


def is_worth_a_message(change: int, unused: int, batch: int) -> bool:
    """Whether to say it at once; else with the next answers."""
    return change < 0 or (change > 0 and (unused <= 0 or change >= batch // _QUIET_SHARE))
