"""How much of a virtual machine's time its host gave to others: then latencies are the host's, not the server's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

MOST = 0.005
"""Of all processors' time: with more taken away a run is made again. A batch of 26 ms knows one millisecond."""
TRIES = 4
_STEAL = 8


def undisturbed(measure: Callable[[], T]) -> tuple[T, float]:
    """Measure, and again if the host took time away meanwhile, whatever came of it; at most `TRIES` times.

    Returns:
        The last run, and the share that was stolen from it.
    """
    for _ in range(TRIES):
        before = _counted()
        found = measure()
        after = _counted()
        share = (after[0] - before[0]) / max(after[1] - before[1], 1)
        if share <= MOST:
            break
    return found, share


def said(share: float) -> str:
    """For a figure's note; empty if nothing disturbed it."""
    return f"; the host took {share:.1%} of the time" if share > MOST else ""


def _counted() -> tuple[int, int]:
    """Ticks stolen, and all ticks, since the machine began."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return 0, 0
    ticks = [int(word) for word in line.split()[1:]]
    return (ticks[_STEAL - 1] if len(ticks) >= _STEAL else 0), sum(ticks[:_STEAL])
