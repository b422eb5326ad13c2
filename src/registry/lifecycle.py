"""In which state a version is, from what is wanted and what its workers do. Decisions only."""

from __future__ import annotations

from collections.abc import Collection

from .state import State


def version_state(desired: int, workers: Collection[State], load_error: str, *, waits: bool = False) -> State:
    """The state of a version.

    Args:
        desired: how many workers should hold it.
        workers: the states of those that do, or that load it.
        load_error: why the last load failed; empty if it did not, or if another load has begun since.
        waits: it should be loaded, and there is no room yet.
    """
    if desired == 0:
        # Before it is true: followers stop sending while the workers still answer.
        if workers:
            return State.UNLOADING
        return State.START if waits and not load_error else State.END
    if State.AVAILABLE in workers:
        return State.AVAILABLE
    if State.LOADING in workers:
        return State.LOADING
    # A worker that drains takes nothing new: without another one the version starts anew.
    return State.END if load_error else State.START
