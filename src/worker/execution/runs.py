"""How a batch is run on the model, and run again in halves if that fails, so that only the requests at fault fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ...errors import DeviceOutOfMemory, PenstockError, WorkerLost
from ..job import Job, Outcome, Outputs, StreamJob
from ..loaded import Later, Loaded, Value
from .cutting import Cutting
from .faults import as_model_error, model_raised
from .joining import Joined, Joining
from .piece import Piece
from .transfer import Arrival, Transfer


@dataclass(slots=True)
class UnderWay:
    """A batch that the model was given."""

    pieces: Sequence[Piece]
    joined: Joined
    arrival: Arrival
    later: bool
    """The answer has to be waited for: meanwhile the model's thread can start the next batch."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A batch that gave no answer."""

    error: PenstockError
    again: bool
    """Parts of it may do better."""


class Runs:
    """Called from the model's thread; `finish` also from the one that waits for answers. Nothing here raises.

    Args:
        loaded: the model.
        joining: makes its inputs.
        transfer: brings back its outputs.
        tell: has the event loop call something.
    """

    def __init__(self, loaded: Loaded, joining: Joining, transfer: Transfer, tell: Callable[..., None]) -> None:
        self._loaded, self._joining, self._transfer, self._tell = loaded, joining, transfer, tell
        self._cutting = Cutting(loaded)

    def begin(self, pieces: Sequence[Piece]) -> UnderWay | Failed:
        """Give a batch to the model."""
        joined = None
        try:
            with torch.inference_mode():
                joined = self._joining.join(pieces)
                return self._under_way(pieces, joined, self._loaded.run(joined.values))
        except BaseException as error:  # SystemExit and the like: a model's mistake, too
            return self._failed(error, joined)

    def finish(self, under_way: UnderWay) -> list[Outcome] | Failed:
        """Wait for the answer and cut it apart."""
        joined = under_way.joined
        try:
            with torch.inference_mode():
                outcomes = self._cutting.outcomes(under_way.arrival(), joined, under_way.pieces)
        except BaseException as error:
            return self._failed(error, joined)
        self._joining.release(joined)
        return outcomes

    def complete(self, pieces: Sequence[Piece], begun: UnderWay | Failed) -> list[Outcome]:
        """What becomes of a batch to the very end. Everything that the last attempt held is let go before the next."""
        ended = self.finish(begun) if isinstance(begun, UnderWay) else begun
        return self.again(pieces, ended) if isinstance(ended, Failed) else ended

    def again(self, pieces: Sequence[Piece], failed: Failed) -> list[Outcome]:
        """Run what failed in halves; one request cannot be divided."""
        if len(pieces) == 1 or not failed.again:
            return [failed.error] * len(pieces)
        if isinstance(failed.error, DeviceOutOfMemory):
            self._transfer.free_memory()
        middle = len(pieces) // 2
        first = self._whole(pieces[:middle])
        if isinstance(first[0], WorkerLost):
            return [first[0]] * len(pieces)
        return first + self._whole(pieces[middle:])

    def stream(self, pieces: Sequence[Piece]) -> list[Outcome]:
        """Run a batch that is answered many times, and hand on its answers as they come."""
        joined, sent = None, 0
        assert self._loaded.stream is not None
        try:
            with torch.inference_mode():
                joined = self._joining.join(pieces)
                for answer in self._loaded.stream(joined.values):
                    self._send(answer, joined, pieces)
                    sent += 1
                    if all(piece.job.abandoned for piece in pieces):
                        break
        except BaseException as error:
            failed = self._failed(error, joined)
        else:
            self._joining.release(joined)
            return [None] * len(pieces)
        if sent and len(pieces) > 1 and failed.again:  # too late to ask again, and the error may be meant for one only
            failed = Failed(model_raised(), again=False)
        return self.again(pieces, failed)

    def _whole(self, pieces: Sequence[Piece]) -> list[Outcome]:
        return self.complete(pieces, self.begin(pieces)) if self._loaded.stream is None else self.stream(pieces)

    def _under_way(self, pieces: Sequence[Piece], joined: Joined, given: Sequence[Value] | Later) -> UnderWay:
        if isinstance(given, Later):
            return UnderWay(pieces, joined, lambda: self._transfer.down(given.result())(), later=True)
        return UnderWay(pieces, joined, self._transfer.down(given), later=self._transfer.asynchronous)

    def _failed(self, error: BaseException, joined: Joined | None) -> Failed:
        """To be acted on outside of the except block, since the error's traceback holds the batch's tensors."""
        known, intact = as_model_error(error), joined is None or self._joining.release(joined)
        if isinstance(known, WorkerLost) or (intact and isinstance(error, Exception)):
            return Failed(known, again=not isinstance(known, WorkerLost))
        return Failed(model_raised(), again=False)

    def _send(self, answer: Sequence[Value], joined: Joined, pieces: Sequence[Piece]) -> None:
        """Hand on one of several answers."""
        outputs = self._cutting.outputs(self._transfer.down(answer)(), joined, pieces)
        self._tell(_deliver, [(piece.job, one) for piece, one in zip(pieces, outputs, strict=True)])


def _deliver(answers: Sequence[tuple[Job, Outputs]]) -> None:
    """On the event loop."""
    for job, outputs in answers:
        if isinstance(job, StreamJob):
            job.deliver(outputs)
