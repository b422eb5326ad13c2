"""A job as the model's thread sees it: what it must know, taken from the job when it is launched.

The event loop may change or drop the job meanwhile; its rows stay where they are until the batch is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...tensors import Array
from ..job import Job


class Piece(NamedTuple):
    """One job of a batch. A tuple, since one is made for each request."""

    place: int
    """In the batch as it was launched."""
    job: Job
    """Nothing but `encode`, `abandoned` and what never changes is read outside of the event loop."""
    rows: int
    slot: int | None
    """Its first row in the row store; None: it is not there."""
    inputs: Sequence[Array]
    """Empty if it is there."""


def pieces_of(batch: Sequence[Job]) -> list[Piece]:
    """The batch as it is now. Those in the row store come first, by their places: neighbours need no copy."""
    pieces = [Piece(place, job, job.rows, job.slot, job.inputs) for place, job in enumerate(batch)]
    pieces.sort(key=lambda piece: (piece.slot is None, piece.slot or 0))
    return pieces
