"""One model on one device: takes batches from the engine, runs them on the model's thread, says once what came of each.

A model that computes on this process's CPU is run and its answer cut apart on the model's thread, and the event loop is
woken; a batch that is known to be short is run by the event loop itself, since to wake two threads takes longer. Where
the answer comes later (CUDA, a servable that returns futures), a second thread waits for it, so that the next batch is
on the device by then; batches end in the order in which they were launched.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..errors import WorkerLost
from .engine import Done, Finished
from .execution.joining import Joining
from .execution.piece import Piece, pieces_of
from .execution.rows import RowStore, has_fixed_rows
from .execution.runs import Failed, Runs, UnderWay
from .execution.transfer import Transfer, transfer_for
from .job import Job, Outcome
from .loaded import Loaded
from .model_thread import ModelThread

_SHORT = 0.0005
"""Seconds. What takes less is not worth the way to another thread and back (about 0.1 ms of this process's time)."""


@dataclass(slots=True)
class _Batch:
    """A batch that was launched."""

    pieces: Sequence[Piece]
    done: Done
    began: float = 0.0
    ended: float = 0.0
    elements: int = 0
    padded: int = 0


class Executor:
    """What the engine runs its batches on. Used by the event loop; made anywhere, but not in torch's inference mode.

    Args:
        loaded: the model; from now on only the thread touches it.
        device: where its inputs go, `cpu` or `cuda:0`.
        most_rows: the greatest batch.
        thread: the one that loaded the model; its maker closes it.
        on_fatal: called on the event loop when the device is beyond repair (a sticky CUDA error); the process must end.
        transfer: the way to the device; None: the usual one.
        expected: how many seconds a batch of so many rows should take; 0: not known.
    """

    def __init__(
        self,
        loaded: Loaded,
        device: str,
        most_rows: int,
        thread: ModelThread,
        on_fatal: Callable[[], None],
        transfer: Transfer | None = None,
        expected: Callable[[int], float] = lambda rows: 0.0,
    ) -> None:
        transfer = transfer or transfer_for(device)
        self.asynchronous = transfer.asynchronous and loaded.stream is None
        """The device works on its own. Known of a servable when it has answered once."""
        self._layout, self._streams = loaded.layout, loaded.stream is not None
        self._store = _store(loaded, most_rows, pinned=transfer.pinned)
        self._runs = Runs(loaded, Joining(loaded, self._store, transfer, most_rows), transfer, thread.tell)
        self._thread, self._on_fatal = thread, on_fatal
        self._free_since = 0.0
        self._expected = expected
        self._bound = self._streams or loaded.own_thread
        self._under_way = 0

    def write(self, job: Job) -> None:
        """Copy a job's rows to where batches are made, if there is room: then `slot` is set and `inputs` is empty."""
        if self._store is not None:
            job.slot = self._store.write(job.inputs, job.rows)
            if job.slot is not None:
                job.inputs = ()

    def free(self, job: Job) -> None:
        """A job will not be launched. One that was launched keeps its rows until its batch is done."""
        if self._store is not None and job.slot is not None:
            self._store.free(job.slot, job.rows)
            job.slot = None

    def launch(self, batch: Sequence[Job], done: Done) -> None:
        """Run a batch; `done` is called on the event loop when every job has an outcome."""
        launched = _Batch(pieces_of(batch), done)
        for job in batch:
            job.slot = None  # the batch's from here on
        if self._store is not None:
            self._store.begin_batch()
        self._under_way += 1
        if self._is_short(batch):
            self._run(launched, self._thread.soon)
        else:
            self._thread.run(partial(self._run, launched, self._thread.tell))

    def _is_short(self, batch: Sequence[Job]) -> bool:
        """Whether the event loop runs it. Never while the model's thread does something: the model is called by one."""
        if self.asynchronous or self._bound or self._under_way > 1:
            return False
        return 0.0 < self._expected(sum([job.rows for job in batch])) < _SHORT

    def _run(self, batch: _Batch, tell: Callable[..., None]) -> None:
        """On the model's thread, or on the event loop."""
        batch.began = time.monotonic()
        self._count(batch)
        if self._streams:
            self._end(batch, self._runs.stream(batch.pieces), tell)
            return
        begun = self._runs.begin(batch.pieces)
        if isinstance(begun, UnderWay) and begun.later:
            self.asynchronous = True
        if self.asynchronous:  # also one that has failed: it must not overtake the one before it
            self._thread.wait(partial(self._wait, batch, begun))
        else:
            self._end(batch, self._runs.complete(batch.pieces, begun), tell)

    def _wait(self, batch: _Batch, begun: UnderWay | Failed) -> None:
        """On the second thread. The model is only called from its own: what failed goes back there."""
        ended = self._runs.finish(begun) if isinstance(begun, UnderWay) else begun
        if isinstance(ended, Failed):
            outcomes: queue.SimpleQueue[list[Outcome]] = queue.SimpleQueue()
            self._thread.run(partial(self._again, batch, ended, outcomes))
            ended = outcomes.get()
        self._end(batch, ended, self._thread.tell)

    def _again(self, batch: _Batch, failed: Failed, outcomes: queue.SimpleQueue[list[Outcome]]) -> None:
        outcomes.put(self._runs.again(batch.pieces, failed))

    def _end(self, batch: _Batch, outcomes: Sequence[Outcome], tell: Callable[..., None]) -> None:
        """On any thread: the one wake-up of the event loop."""
        batch.ended = time.monotonic()
        ordered: list[Outcome] = [None] * len(outcomes)
        for piece, outcome in zip(batch.pieces, outcomes, strict=True):
            ordered[piece.place] = outcome
        tell(self._finished, batch, ordered)

    def _finished(self, batch: _Batch, outcomes: Sequence[Outcome]) -> None:
        """On the event loop."""
        self._under_way -= 1
        if self._store is not None:
            for piece in batch.pieces:
                if piece.slot is not None:
                    self._store.free(piece.slot, piece.rows)
        alone_s = batch.ended - max(batch.began, self._free_since)  # before that the device was another batch's
        self._free_since = batch.ended
        batch.done(Finished(outcomes, batch.ended - batch.began, alone_s, batch.elements, batch.padded))
        if any(isinstance(outcome, WorkerLost) for outcome in outcomes):
            self._on_fatal()

    def _count(self, batch: _Batch) -> None:
        """How much of the batch is filled in."""
        layout = self._layout
        if layout is not None:
            lengths = [layout.lengths(piece.inputs) for piece in batch.pieces]
            real = sum(layout.elements(own) * piece.rows for own, piece in zip(lengths, batch.pieces, strict=True))
            batch.elements = layout.elements(layout.longest(lengths)) * sum(piece.rows for piece in batch.pieces)
            batch.padded = batch.elements - real


def _store(loaded: Loaded, most_rows: int, *, pinned: bool) -> RowStore | None:
    """Rows of different sizes, and such as are too large to be kept, have no store: they are copied when they run."""
    if not has_fixed_rows(loaded.signature):
        return None
    store = RowStore(loaded.signature.inputs, most_rows, pinned=pinned)
    return store if store.block.rows else None
