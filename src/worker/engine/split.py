"""A request of more rows than a batch has: cut into pieces that run one after the other, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import ModelError, PenstockError
from ..job import Job, Outcome


class _Piece(Job):
    """Some rows of a job."""

    __slots__ = ("_whole",)

    def __init__(self, whole: Job, first: int, rows: int, on_settled: Callable[[Job], None]) -> None:
        super().__init__(
            [array[first : first + rows] for array in whole.inputs],
            rows,
            whole.key,
            whole.deadline,
            suspect=whole.suspect,
            size=whole.size * rows // whole.rows,
            arrived=whole.arrived,
            on_settled=on_settled,
        )
        self.order = whole.order
        self._whole = whole

    def begin(self, now: float, batch_rows: int) -> None:
        super().begin(now, batch_rows)
        if not self._whole.started:
            self._whole.begin(now, batch_rows)


def split(job: Job, most: int, cancel: Callable[[Job], None]) -> Sequence[Job]:
    """Cut a job into pieces of at most `most` rows; when the last has its outcome, so has the job.

    Args:
        job: of more rows; gets `pieces`. Its first failing piece fails it.
        most: rows of a full batch.
        cancel: called for the other pieces of a job that failed.
    """
    missing = -(-job.rows // most)

    def settled(piece: Job) -> None:
        nonlocal missing
        missing -= 1
        job.compute_s += piece.compute_s
        job.batch_rows = max(job.batch_rows, piece.batch_rows)
        if piece.error is None and missing:
            return
        pieces, job.pieces = job.pieces, ()
        if piece.error is not None:
            for other in pieces:
                cancel(other)
        job.settle(piece.error or _joined(job, pieces))

    job.pieces = [_Piece(job, at, min(most, job.rows - at), settled) for at in range(0, job.rows, most)]
    return job.pieces


def _joined(job: Job, pieces: Sequence[Job]) -> Outcome:
    try:
        parts = [piece.outputs or () for piece in pieces]
        outputs = [np.concatenate(same) for same in zip(*parts, strict=True)]
        return job.encode(outputs) if job.encode else outputs
    except PenstockError as error:
        return error
    except ValueError:
        text = "the request was answered in parts, whose outputs do not fit together; send fewer rows at once"
        return ModelError(text)
