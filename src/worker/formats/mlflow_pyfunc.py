"""MLflow's python_function: any model that takes and gives arrays or tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import InvalidInput, ModelLoadFailed
from ...signature import BATCH, Dim, DType, TensorSpec
from ...tensors import STORAGE, Array, dtype_of
from ...torch_tensors import from_torch
from ..loaded import Value
from .mlflow_schema import Field

_ROWS = (2, 3)


class Pyfunc:
    """Between our arrays and what a model of MLflow takes and gives.

    Args:
        model: what mlflow.pyfunc has loaded.
        inputs: its input schema.
        listed: the model wants a list, since its schema is from a type hint.
    """

    def __init__(self, model: Any, inputs: Sequence[Field], *, listed: bool) -> None:
        self._model, self._inputs, self._listed = model, inputs, listed
        self.outputs: Sequence[Field] = ()
        """Its output schema."""

    def run(self, values: Sequence[Value]) -> Sequence[Value]:
        """The inputs in the schema's order → the outputs in theirs."""
        answer = _named(self.ask(values), self.outputs)
        return [_fitting(answer[field.spec.name], field.spec) for field in self.outputs]

    def ask(self, values: Sequence[Value]) -> Any:
        """What the model itself gives."""
        arrays = [_as_told(value, field) for value, field in zip(values, self._inputs, strict=True)]
        if self._listed:
            return self._model.predict(arrays[0].tolist())
        if any(field.column for field in self._inputs):
            import pandas

            names = [index if field.key is None else field.key for index, field in enumerate(self._inputs)]
            return self._model.predict(pandas.DataFrame(dict(zip(names, arrays, strict=True))))
        if self._inputs[0].key is None:
            return self._model.predict(arrays[0])
        return self._model.predict({str(f.key): array for f, array in zip(self._inputs, arrays, strict=True)})

    def discover(self) -> Sequence[Field]:
        """What the model gives, where no schema says it, by running it on zeros of two batch sizes.

        Raises:
            ModelLoadFailed: it cannot be run on them, or what it gives are not arrays.
        """
        try:
            small, large = (_named(self.ask([_zeros(f.spec, rows) for f in self._inputs]), ()) for rows in _ROWS)
            return [Field(_spec(name, array, large[name]), name, column=False) for name, array in small.items()]
        except Exception as error:
            text = f"the model has no output schema, and running it on zeros fails ({type(error).__name__})"
            raise ModelLoadFailed(f"{text}; log it with a signature that has outputs") from error


def _as_told(value: Value, field: Field) -> Array:
    array: Array = value if isinstance(value, np.ndarray) else from_torch(value)[0]
    if not field.text:
        return array
    texts = np.empty(array.shape, object)
    try:
        texts[...] = np.vectorize(bytes.decode, otypes=[object])(array) if array.size else array
    except UnicodeDecodeError:
        raise InvalidInput(f"input {field.spec.name!r} takes text in UTF-8") from None
    return texts


def _named(answer: Any, outputs: Sequence[Field]) -> Mapping[str, Any]:
    """By the outputs' names; a table is one tensor if one tensor is what the schema says."""
    if isinstance(answer, Mapping):
        return answer
    one = len(outputs) == 1 and (not outputs[0].column or outputs[0].key is None)
    if hasattr(answer, "columns") and not one:
        return {str(name): answer[name].to_numpy() for name in answer.columns}
    array = answer.to_numpy() if hasattr(answer, "to_numpy") else np.asarray(answer)
    if one and outputs[0].column and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return {outputs[0].spec.name if outputs else "output": array}


def _fitting(value: Any, spec: TensorSpec) -> Array:
    """As the schema says it; what would lose more than precision raises."""
    array = np.asarray(value)
    if spec.dtype is DType.BYTES:
        return array.astype(object)
    return array.astype(STORAGE[spec.dtype], casting="same_kind", copy=False)


def _zeros(spec: TensorSpec, rows: int) -> Array:
    shape = [size if isinstance(size, int) else rows if size.name == BATCH else 8 for size in spec.shape]
    return np.full(shape, b"", object) if spec.dtype is DType.BYTES else np.zeros(shape, STORAGE[spec.dtype])


def _spec(name: str, small: Any, large: Any) -> TensorSpec:
    first, second = np.asarray(small), np.asarray(large)
    sizes = zip(first.shape, second.shape, strict=True)
    dims = [a if a == b else Dim(BATCH if (a, b) == _ROWS else f"{name}_{axis}") for axis, (a, b) in enumerate(sizes)]
    return TensorSpec(DType.BYTES if first.dtype.kind in "OSU" else dtype_of(first), dims, name)
