"""What every model format gives to the rest of the worker, and which formats there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ModelLoadFailed
from ..signature import Signature

Value = Any
"""A torch tensor on the model's device, or for BYTES a numpy array of bytes objects."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory. All calls come from one thread."""

    signature: Signature
    run: Callable[[Sequence[Value]], Sequence[Value]]
    """Inputs in the signature's order, each [rows, ...] → outputs in the signature's order."""
    stream: Callable[[Sequence[Value]], Iterator[Sequence[Value]]] | None = None
    """Instead of `run`, for a model that answers many times."""
    max_rows: int | None = None
    """The most rows that the model itself allows; None: no bound is known."""
    min_rows: int = 1
    """The fewest rows that the model itself allows; smaller batches are filled up with their last row."""


Loader = Callable[[Path, str, str], Loaded]
"""(the version's folder, the manifest's entry, the device) → the model, not warmed up."""

_HOMES = {"torch_export": "torch_export", "torchscript": "torchscript", "python": "python_class"}
FORMATS = tuple(_HOMES)


def load(format_: str, folder: Path, entry: str, device: str) -> Loaded:
    """Load a version.

    Raises:
        ModelLoadFailed: the format is unknown, or the loader refuses what it finds. A loader may raise anything else
        too.
    """
    if format_ not in _HOMES:
        raise ModelLoadFailed(f"format {format_!r} is not known to this release; it knows {', '.join(FORMATS)}")
    loader: Loader = import_module(f".formats.{_HOMES[format_]}", __package__).load
    return loader(folder, entry, device)
