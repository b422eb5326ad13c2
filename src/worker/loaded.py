"""What every model format gives to the rest of the worker, and which formats there are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ModelLoadFailed
from ..servable import Padding
from ..signature import Dim, Signature
from .padding import Layout, Shaped, lay_out

Value = Any
"""A torch tensor on the model's device, or for BYTES a numpy array of bytes objects."""


@dataclass(frozen=True, slots=True)
class Later:
    """Outputs that something else works on."""

    result: Callable[[], Sequence[Value]]
    """Waits for them; called once, from another thread than the model's."""


Run = Callable[[Sequence[Value]], Sequence[Value] | Later]
"""The model's inputs in its order, each [rows, ...] → outputs in the signature's order."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory. One call at a time."""

    signature: Signature
    """What callers see: once `layout` is set, without the masks."""
    run: Run
    stream: Callable[[Sequence[Value]], Iterator[Sequence[Value]]] | None = None
    """Instead of `run`, for a model that answers many times."""
    max_rows: int | None = None
    """The most rows that the model itself allows; None: no bound is known."""
    min_rows: int = 1
    """The fewest rows that the model itself allows; smaller batches are filled up with their last row."""
    default_rows: int | None = None
    """The greatest batch where the publisher says nothing; None: the usual one."""
    padding: Padding | None = None
    """What the model itself says about requests of different lengths."""
    layout: Layout | None = None
    """How requests of different lengths are joined; None: they are not."""
    own_thread: bool = False
    """It may wait in a call, or cares which thread calls: all calls come from the one that loaded it."""
    faster: Mapping[str, Callable[[Path], Run]] = field(default_factory=dict)
    """Other ways to compute the same, by name (`compile`, `aot`): each makes a `run`, given the folder in which this
    host keeps what is compiled. That takes long, and may raise anything."""

    def padded(self, padding: Padding | None) -> Loaded:
        """The same model, whose requests are joined like this.

        Raises:
            ModelLoadFailed: it does not fit the signature.
        """
        if padding is None:
            return self
        layout = lay_out(self.signature, padding)
        return replace(self, signature=layout.visible, layout=layout)

    def grouping(self) -> Callable[[Sequence[Shaped]], Hashable]:
        """What tells for a request's inputs its group: requests of equal groups can run together."""
        if self.layout is not None:
            return self.layout.group
        if not self.signature.batch or not _is_free(self.signature):
            return lambda inputs: None  # without a batch dimension they run alone all the same
        return lambda inputs: tuple(array.shape[1:] for array in inputs)


def _is_free(signature: Signature) -> bool:
    """Whether requests of one row can differ in their shapes."""
    return any(isinstance(size, Dim) for spec in signature.inputs for size in spec.shape[1:])


Loader = Callable[[Path, str, str], Loaded]
"""(the version's folder, the manifest's entry, the device) → the model, not warmed up."""

_HOMES = {"torch_export": "torch_export", "torchscript": "torchscript", "python": "python_class"}
_HOMES |= {"torchserve": "torchserve", "mlflow": "mlflow_model"}
_HOMES |= {"safetensors": "safetensors", "state_dict": "state_dict", "onnx": "onnx"}
_HOMES |= {"aot_inductor": "aot_inductor"}
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
