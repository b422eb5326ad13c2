"""What a model written as a plain Python class must be, and what it may ask for. Imports no torch: only workers do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from .signature import TensorSpec


@dataclass(frozen=True, slots=True)
class Padding:
    """How requests of different lengths are joined: those that are shorter are filled up, and their outputs cut back.

    Only for models whose rows do not look at each other, and that do not look at what is filled up: because they take a
    mask, or by their nature.
    """

    value: float = 0
    """What is filled in. BYTES are filled up with empty ones."""
    masks: Mapping[str, str] = field(default_factory=dict)
    """By input: the input that says which of its elements are real (1) and which filled in (0). Callers leave it out;
    its shape is the batch and those free dimensions of the input that matter, as in BOOL[batch, length]."""
    buckets: tuple[int, ...] = ()
    """Lengths that are filled up to; requests of different buckets do not share a batch. Empty, and for what is longer
    than the greatest: up to the longest in the batch."""
    max_pad_fraction: float = 0
    """The most that may be filled in, as a share of the batch's elements; a batch is rather closed with fewer requests.
    0: no bound. What a bucket takes does not count."""


class Servable:
    """The base of plain Python models; a worker makes one instance, in its own process.

    All methods are called from one thread, the worker's model thread, unless `own_thread` says otherwise. `inputs` and
    `outputs` say what the model takes and gives; where every shape begins with "batch", requests are joined, and
    `predict` is called with whole batches.

        class Scale(Servable):
            inputs = {"x": TensorSpec("FP32", ["batch", 16])}
            outputs = {"y": TensorSpec("FP32", ["batch", 16])}

            def predict(self, x):
                return {"y": x * 2 + 1}
    """

    inputs: ClassVar[Mapping[str, TensorSpec]]
    outputs: ClassVar[Mapping[str, TensorSpec]]
    padding: ClassVar[Padding | None] = None
    """Join requests whose free dimensions differ. None: only requests of equal shapes share a batch."""
    own_thread: ClassVar[bool] = True
    """`load` and `predict` are called from a thread of their own, where they may wait for whatever they like. False:
    `predict` never waits (no I/O, no locks) and may be called from any thread; then batches that are known to take less
    than half a millisecond are run by the worker's event loop, which saves two switches of threads each."""

    device: str
    """Where the worker runs it, `cpu` or `cuda:0`; set before `load`."""
    files: Path
    """The folder with the version's files, not to be written to; set before `load`."""

    def load(self) -> None:
        """Called once, before any request: read weights from `self.files`, move them to `self.device`."""

    def predict(self, **inputs: Any) -> Any:
        """Answer a batch.

        Args:
            inputs: for each input a tensor on `self.device`, of shape [rows, ...]; BYTES as a numpy array of objects.
                Their memory is used again for later requests: copy what is to be kept beyond the call, and do not
                write to it through numpy views (`x.numpy()[0] = 1`), which goes unnoticed if the batch is run again.

        Returns:
            A mapping from each output's name to a tensor or array of shape [rows, ...]. A generator yields such
            mappings, and each goes to the callers at once. Where something else does the work, an object with
            `result()` that waits for the mapping, such as a `concurrent.futures.Future`: `predict` is then called with
            the next batch meanwhile, with at most two under way, and `result` comes from another thread.

        Raises:
            penstock.errors.InvalidInput: to refuse the values with a message for the caller. Any other exception
                becomes INTERNAL, and its text stays in the worker's log. A batch that raises is run again in halves, so
                that only the requests at fault fail: keep `predict` free of side effects.
        """
        raise NotImplementedError("a Servable must define predict(self, **inputs)")
