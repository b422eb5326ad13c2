"""What a model written as a plain Python class must be. Imports no torch: only workers do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .signature import TensorSpec


class Servable:
    """The base of plain Python models; a worker makes one instance, in its own process.

    All methods are called from one thread, the worker's model thread. `inputs` and `outputs` say what the model takes
    and gives; where every shape begins with "batch", requests are joined, and `predict` is called with whole batches.

        class Scale(Servable):
            inputs = {"x": TensorSpec("FP32", ["batch", 16])}
            outputs = {"y": TensorSpec("FP32", ["batch", 16])}

            def predict(self, x):
                return {"y": x * 2 + 1}
    """

    inputs: ClassVar[Mapping[str, TensorSpec]]
    outputs: ClassVar[Mapping[str, TensorSpec]]

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

        Returns:
            A mapping from each output's name to a tensor or array of shape [rows, ...]. A generator yields such
            mappings, and each goes to the callers at once.

        Raises:
            penstock.errors.InvalidInput: to refuse the values with a message for the caller. Any other exception
                becomes INTERNAL, and its text stays in the worker's log. A batch that raises is run again in halves, so
                that only the requests at fault fail: keep `predict` free of side effects.
        """
        raise NotImplementedError("a Servable must define predict(self, **inputs)")
