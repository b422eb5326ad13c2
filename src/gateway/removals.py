"""Which workers that the registry no longer lists are kept all the same, since they answer. Decisions only.

gRFC A53 for xDS: a control plane that forgets must not stop what works. One that says why it removes is believed: the
worker drains, its version is not wanted any longer, or it does not answer anyway. So are a few at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

WINDOW_S = 60.0
"""Removals count together for so long, so that leases that run out one after the other are seen as one removal."""
LET_GO_S = 10.0
"""A worker that was kept and has not answered for so long is gone."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A worker of one model, as gateways know it."""

    worker_id: str
    version: int
    answers: bool
    """A connection to it is up, or was not tried yet."""
    leaving: bool = False
    """It drains."""


def unexplained(before: Sequence[Listed], after: Collection[str], wanted: Mapping[int, int]) -> list[str]:
    """The workers that are removed without a reason and answer.

    Args:
        before: all workers of a model until now.
        after: the ids of those that the registry still lists.
        wanted: how many workers each version should have; a model that is not listed either wants what it wanted.
    """
    return [
        worker.worker_id
        for worker in before
        if worker.worker_id not in after and worker.answers and not worker.leaving and wanted.get(worker.version, 0) > 0
    ]


def is_too_much(removed: int, recently: int, remaining: int) -> bool:
    """Whether a removal is held back: with it, more than half of what answered a minute ago would be gone.

    Args:
        removed: workers that would be removed now without a reason.
        recently: those that were in the last minute.
        remaining: those that would remain and answer.
    """
    gone = removed + recently
    return removed > 0 and 2 * gone > gone + remaining


def is_overtaken(before: Sequence[Listed], serves: bool) -> bool:
    """Whether a registry that is not believed is followed for a model: it serves it, or nothing old answers."""
    return serves or not any(worker.answers for worker in before)
