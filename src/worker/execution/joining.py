"""From the pieces of a batch to the model's inputs, on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...signature import DType, TensorSpec
from ...tensors import Array
from ...torch_tensors import TORCH, from_torch
from ..loaded import Loaded, Value
from ..padding import Layout, Lengths, Source
from .piece import Piece
from .rows import Block, RowStore, allocate
from .transfer import Transfer


@dataclass(slots=True)
class Joined:
    """A batch as the model takes it."""

    values: Sequence[Value]
    """One for each input of the model."""
    rows: int
    """What the model is given: those of the pieces, filled up to what it takes at least."""
    lengths: Lengths = ()
    """What the free dimensions were filled up to."""
    block: Block | None = None
    """Memory to give back when the batch is done."""
    versions: Sequence[int] | None = None
    """The row store's, if the values are slices of it."""


class Joining:
    """Called from the model's thread; `release` from the one that waits for answers, too.

    Args:
        loaded: whose inputs are made.
        store: where pieces may have been written; None: nothing has.
        transfer: the way to the device.
        most_rows: of a batch.
    """

    def __init__(self, loaded: Loaded, store: RowStore | None, transfer: Transfer, most_rows: int) -> None:
        self._loaded, self._store, self._transfer = loaded, store, transfer
        self._inputs = loaded.signature.inputs
        self._layout = loaded.layout
        plain = tuple(Source(index, spec) for index, spec in enumerate(self._inputs))
        self._sources = loaded.layout.sources if loaded.layout else plain
        self._slices = True
        # Two, since two batches can be under way.
        most = max(most_rows, loaded.min_rows)
        self._blocks = [Block(self._inputs, most, pinned=transfer.pinned) for _ in range(2)] if store else []

    def join(self, pieces: Sequence[Piece]) -> Joined:
        """The inputs of a batch, on their way to the device."""
        rows = sum([piece.rows for piece in pieces])
        given = max(rows, self._loaded.min_rows) if self._loaded.signature.batch else rows
        joined = self._copied(pieces, given) if self._store is None else self._kept(self._store, pieces, rows, given)
        up = self._transfer.up
        joined.values = [value if isinstance(value, np.ndarray) else up(value) for value in joined.values]
        return joined

    def release(self, joined: Joined) -> bool:
        """The model has answered: the batch's memory may be used again. Whether the rows are still what callers sent.

        A model that writes to the row store is given copies from now on.
        """
        joined.values = ()
        if joined.block is not None:
            self._blocks.append(joined.block)
            joined.block = None
        intact = joined.versions is None or self._store is None or joined.versions == self._store.block.versions()
        self._slices = self._slices and intact
        return intact

    def _kept(self, store: RowStore, pieces: Sequence[Piece], rows: int, given: int) -> Joined:
        """Of fixed rows: as they lie in the row store if that is possible, else side by side in a block."""
        first = pieces[0].slot
        if self._slices and rows == given and first is not None and _are_neighbours(pieces):
            versions = None if self._transfer.pinned else store.block.versions()  # pinned: the model gets a copy
            return Joined(store.block.slice(first, rows), rows, versions=versions)
        block = self._blocks.pop() if self._blocks and given <= self._blocks[-1].rows else None
        into = block or Block(self._inputs, given, pinned=self._transfer.pinned)
        self._gather(store, pieces, into)
        for array in into.arrays:
            array[rows:given] = array[rows - 1]
        return Joined(into.slice(0, given), given, block=block)

    def _gather(self, store: RowStore, pieces: Sequence[Piece], into: Block) -> None:
        stored = [place for p in pieces if p.slot is not None for place in range(p.slot, p.slot + p.rows)]
        if stored:
            store.gather(stored, into)
        at = len(stored)  # those in the store come first
        for piece in pieces:
            if piece.slot is None:
                for array, part in zip(into.arrays, piece.inputs, strict=True):
                    array[at : at + piece.rows] = part
                at += piece.rows

    def _copied(self, pieces: Sequence[Piece], given: int) -> Joined:
        """Of rows that differ, or that there is no row store for: copied side by side into new memory."""
        if not pieces[0].job.batched:
            return Joined([self._alone(spec, pieces[0].inputs[i]) for i, spec in enumerate(self._inputs)], given)
        layout = self._layout
        lengths = layout.longest([layout.lengths(piece.inputs) for piece in pieces]) if layout else ()
        return Joined([self._input(source, pieces, given, lengths) for source in self._sources], given, lengths)

    def _alone(self, spec: TensorSpec, array: Array) -> Value:
        memory, value = allocate(spec, array.shape, pinned=self._transfer.pinned)
        memory[...] = array
        return value

    def _input(self, source: Source, pieces: Sequence[Piece], given: int, lengths: Lengths) -> Value:
        first = pieces[0].inputs[source.index]
        shape = self._layout.shape(source.spec, given, lengths) if self._layout else (given, *first.shape[1:])
        memory, value = allocate(source.spec, shape, pinned=self._transfer.pinned)
        if self._layout is not None:
            memory[...] = 0 if source.mask else _filling(source.spec, self._layout)
        at = 0
        for piece in pieces:
            array = piece.inputs[source.index]
            place = (slice(at, at + piece.rows), *self._real(source, piece))
            memory[place] = 1 if source.mask else array
            at += piece.rows
        memory[at:] = memory[at - 1]
        return value

    def _real(self, source: Source, piece: Piece) -> tuple[slice, ...]:
        """What of a row is the caller's."""
        return self._layout.cut(source.spec, self._layout.lengths(piece.inputs)) if self._layout else ()


def _are_neighbours(pieces: Sequence[Piece]) -> bool:
    place = pieces[0].slot
    for piece in pieces:
        if piece.slot is None or piece.slot != place:
            return False
        place = piece.slot + piece.rows
    return True


def _filling(spec: TensorSpec, layout: Layout) -> object:
    """What is filled in, as STORAGE keeps it."""
    if spec.dtype is DType.BYTES:
        return b""
    return from_torch(torch.tensor(layout.padding.value, dtype=torch.float64).to(TORCH[spec.dtype]))[0]
