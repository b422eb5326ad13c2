"""Requests of different lengths in one batch: what is filled up, and how far. Decisions only.

What a publisher or a servable asks for (`Padding`) and the signature make a `Layout`, once; the rest is arithmetic on
shapes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from ..errors import ModelLoadFailed
from ..servable import Padding
from ..signature import Dim, DType, Signature, TensorSpec
from ..tensors import STORAGE

Lengths = tuple[int, ...]
"""The sizes of the free dimensions, in the order of `Layout.free`."""


class Shaped(Protocol):
    """An array, as far as it matters here."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one of the model's inputs comes from: a caller's input, or the mask of one."""

    index: int
    spec: TensorSpec
    mask: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What of a signature is filled up."""

    padding: Padding
    visible: Signature
    """What callers see: without the masks."""
    sources: tuple[Source, ...]
    """One for each input of the model."""
    free: tuple[str, ...]
    """The dimensions that are filled up."""
    places: tuple[tuple[int, int], ...]
    """For each of them an input of the callers, and the axis there."""
    limits: tuple[int | None, ...]
    """For each of them the most that the model takes."""
    volumes: tuple[tuple[int, tuple[int, ...]], ...]
    """For each input that is filled up the product of its fixed sizes, and its free dimensions as places in `free`."""

    def lengths(self, inputs: Sequence[Shaped]) -> Lengths:
        """Of a request's inputs."""
        return tuple(inputs[index].shape[axis] for index, axis in self.places)

    def longest(self, every: Sequence[Lengths]) -> Lengths:
        """What a batch of these is filled up to."""
        return self.rounded(tuple(map(max, zip(*every, strict=True))))

    def group(self, inputs: Sequence[Shaped]) -> Hashable:
        """Requests of equal groups can run together."""
        greatest = max(self.padding.buckets, default=0)
        lengths = self.lengths(inputs)
        return tuple(
            self._bucket(size, limit) if size <= greatest else None
            for size, limit in zip(lengths, self.limits, strict=True)
        )

    def shape(self, spec: TensorSpec, rows: int, lengths: Lengths) -> tuple[int, ...]:
        """Of an input in a batch."""
        sizes = dict(zip(self.free, lengths, strict=True))
        return (rows, *(sizes[size.name] if isinstance(size, Dim) else size for size in spec.shape[1:]))

    def rounded(self, lengths: Lengths) -> Lengths:
        """What a request is filled up to if it runs alone."""
        if not self.padding.buckets:
            return lengths
        return tuple(self._bucket(size, limit) for size, limit in zip(lengths, self.limits, strict=True))

    def elements(self, lengths: Lengths) -> int:
        """How many elements one row of such lengths has, in all inputs that are filled up."""
        every = 0
        for volume, places in self.volumes:
            for place in places:
                volume *= lengths[place]
            every += volume
        return every

    def cut(self, spec: TensorSpec, lengths: Lengths) -> tuple[slice, ...]:
        """What of one row of an output belongs to a request of such lengths."""
        sizes = dict(zip(self.free, lengths, strict=True))
        return tuple(slice(sizes.get(size.name)) if isinstance(size, Dim) else slice(None) for size in spec.shape[1:])

    def fits(self, spec: TensorSpec, lengths: Lengths, shape: Sequence[int]) -> bool:
        """Whether an output can be cut back: where its dimensions have the names of inputs', they have their sizes."""
        sizes = dict(zip(self.free, lengths, strict=True))
        return len(shape) == len(spec.shape) and all(
            not isinstance(wanted, Dim) or sizes.get(wanted.name, size) == size
            for wanted, size in zip(spec.shape[1:], shape[1:], strict=True)
        )

    def _bucket(self, size: int, limit: int | None) -> int:
        up = min((bucket for bucket in self.padding.buckets if bucket >= size), default=size)
        return up if limit is None else min(up, limit)


def lay_out(signature: Signature, padding: Padding) -> Layout:
    """What `padding` means for a model.

    Raises:
        ModelLoadFailed: it does not fit the signature.
    """
    if not signature.batch:
        raise ModelLoadFailed("padding needs a model whose inputs and outputs all begin with the batch dimension")
    masks = {mask: name for name, mask in padding.masks.items()}
    visible = [spec for spec in signature.inputs if spec.name not in masks]
    places = dict(_places(visible))
    if not places:
        raise ModelLoadFailed("padding is asked for, and no input has a free dimension besides the batch")
    _check_numbers(padding, visible)
    names = [spec.name for spec in visible]
    sources = tuple(
        Source(names.index(_masked(spec, masks[spec.name], visible)), spec, mask=True)
        if spec.name in masks
        else Source(names.index(spec.name), spec)
        for spec in signature.inputs
    )
    unknown = masks.keys() - {spec.name for spec in signature.inputs}
    if unknown:
        raise ModelLoadFailed(f"padding names the mask {min(unknown)!r}, which is not an input of the model")
    dims = [visible[index].shape[axis] for index, axis in places.values()]
    return Layout(
        padding,
        Signature(tuple(visible), signature.outputs, signature.batch),
        sources,
        tuple(places),
        tuple(places.values()),
        tuple(dim.maximum if isinstance(dim, Dim) else None for dim in dims),
        tuple(_volume(spec, list(places)) for spec in visible if any(isinstance(size, Dim) for size in spec.shape[1:])),
    )


def _volume(spec: TensorSpec, free: Sequence[str]) -> tuple[int, tuple[int, ...]]:
    fixed = prod(size for size in spec.shape if isinstance(size, int))
    return fixed, tuple(free.index(size.name) for size in spec.shape[1:] if isinstance(size, Dim))


def _places(inputs: Sequence[TensorSpec]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each free dimension besides the batch, and where it is; the first place counts last."""
    for index in reversed(range(len(inputs))):
        for axis, size in enumerate(inputs[index].shape):
            if axis and isinstance(size, Dim):
                yield size.name, (index, axis)


def _masked(mask: TensorSpec, name: str, visible: Sequence[TensorSpec]) -> str:
    """The input that belongs to a mask; refuses a mask that cannot be made."""
    masked = next((spec for spec in visible if spec.name == name), None)
    if masked is None:
        raise ModelLoadFailed(f"padding gives {name!r} the mask {mask.name!r}, and the model has no input {name!r}")
    free = {size.name for size in masked.shape[1:] if isinstance(size, Dim)}
    fits = all(isinstance(size, Dim) and size.name in free for size in mask.shape[1:]) and len(mask.shape) > 1
    if not fits or mask.dtype is DType.BYTES:
        text = f"the mask {mask.name!r} is {mask}; a mask of {masked} has numbers, the batch, and free dimensions of it"
        raise ModelLoadFailed(text)
    return name


def _check_numbers(padding: Padding, inputs: Sequence[TensorSpec]) -> None:
    if not 0 <= padding.max_pad_fraction < 1:
        raise ModelLoadFailed(f"max_pad_fraction must be at least 0 and below 1, got {padding.max_pad_fraction}")
    if any(bucket < 1 for bucket in padding.buckets):
        raise ModelLoadFailed(f"the buckets of the padding must be positive, got {list(padding.buckets)}")
    for spec in inputs:
        storage = STORAGE[spec.dtype]
        if storage.kind in "iub" and spec.dtype is not DType.BF16 and len(spec.shape) > 1:
            low, high = (0, 1) if storage.kind == "b" else (np.iinfo(storage).min, np.iinfo(storage).max)
            if not (low <= padding.value <= high and padding.value == int(padding.value)):
                raise ModelLoadFailed(f"input {spec.name!r} is {spec}, which cannot be filled up with {padding.value}")
