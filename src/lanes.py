"""In which order waiting requests are served. Decisions only; the same in the gateway and in the worker."""

from __future__ import annotations

RETURN_ALLOWANCE = 0.001
"""Seconds that an answer needs from the device back to the caller."""

PRIORITIES = {"high": 1, "normal": 0, "low": -1}
"""What callers may write in `x-penstock-priority`."""

_HORIZON = 10.0
"""Seconds: callers with more time than this, or without a deadline, are served as if they had so much."""
_LANE = 0.5
_MOST = 3


def order_of(arrived: float, deadline: float, priority: int = 0) -> float:
    """What waiting requests are sorted by: the deadline, moved by the lane.

    A lane is an offset and not a class of its own, so that what is in a low one ages and never starves.

    Args:
        arrived: in the event loop's time.
        deadline: in the event loop's time; infinite: none.
        priority: 0 is normal, positive sooner, negative later, by half a second each.
    """
    lane = max(-_MOST, min(priority, _MOST))
    return min(deadline, arrived + _HORIZON) - lane * _LANE
