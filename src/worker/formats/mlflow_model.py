"""Models of MLflow: a folder with an MLmodel file. Its signature is the schemas in that file.

Of its flavours `pytorch` is run as what it is, an exported program or a torch module; all others as python_function.
An exported program (what mlflow.pytorch saves by default) needs nothing of MLflow to be read, and says itself what it
takes and gives.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelLoadFailed
from ...signature import BATCH, Dim, Signature
from ...torch_tensors import TORCH
from ..loaded import Loaded, Value
from . import torch_export
from .mlflow_pyfunc import Pyfunc
from .mlflow_schema import Field, read_schema

_MOST_BYTES = 16 * 1024 * 1024
_EXTRA = "pip install 'penstock[mlflow]'"

log = logging.getLogger("penstock.worker.mlflow")


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Load the flavour that fits best.

    Raises:
        ModelLoadFailed: the MLmodel file is wrong or has no signature, or something that it needs is not installed.
        Exception: whatever the model's code raises.
    """
    said = _read(folder / entry)
    flavours: Mapping[str, Any] = said["flavors"]
    try:
        if "pytorch" in flavours:
            data = str(flavours["pytorch"].get("model_data", "data"))
            if (folder / data / "model.pt2").is_file():
                return torch_export.load(folder, f"{data}/model.pt2", device)
        return _with_schema(folder, said, device)
    except Exception as error:
        missing = _not_installed(error)
        if missing is None:
            raise
        raise _missing(folder, missing) from error


def _not_installed(error: BaseException | None) -> str | None:
    """What an import did not find; MLflow wraps such errors."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__
    return None if error is None else error.name or ""


def _with_schema(folder: Path, said: Mapping[str, Any], device: str) -> Loaded:
    schemas = said.get("signature") or {}
    inputs, outputs = read_schema(schemas.get("inputs"), "input"), read_schema(schemas.get("outputs"), "output")
    if not inputs:
        raise ModelLoadFailed("the model has no signature; log it with signature=mlflow.models.infer_signature(…)")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if "pytorch" in said["flavors"] and outputs and all(map(_is_tensor, (*inputs, *outputs))):
        return _module(folder, inputs, outputs, device)
    return _pyfunc(folder, inputs, outputs, device, listed=bool(said.get("is_signature_from_type_hint")))


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    if path.stat().st_size > _MOST_BYTES:
        raise ModelLoadFailed(f"{path.name} has more than {_MOST_BYTES} bytes")
    try:
        said = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise ModelLoadFailed(f"{path.name} is not YAML: {str(error)[:200]}") from None
    if not isinstance(said, dict) or not isinstance(said.get("flavors"), dict):
        raise ModelLoadFailed(f"{path.name} names no flavors; publish a folder that MLflow has made")
    return said


def _is_tensor(field: Field) -> bool:
    return not field.column and field.spec.dtype in TORCH


def _module(folder: Path, inputs: Sequence[Field], outputs: Sequence[Field], device: str) -> Loaded:
    """As torch.nn.Module: its inputs are on the device, and not copied."""
    import mlflow.pytorch

    module: Any = mlflow.pytorch.load_model(str(folder), map_location=device)
    module.to(device).eval()
    names = [field.spec.name for field in inputs]
    by_name = len(names) > 1 and set(names) <= set(inspect.signature(module.forward).parameters)
    return Loaded(_signature(inputs, outputs), _caller(module, names if by_name else (), outputs))


def _caller(module: Any, names: Sequence[str], outputs: Sequence[Field]) -> Callable[[Sequence[Value]], Any]:
    def run(values: Sequence[Value]) -> Sequence[Value]:
        answer = module(**dict(zip(names, values, strict=True))) if names else module(*values)
        if isinstance(answer, torch.Tensor):
            return [answer]
        return [answer[field.spec.name] for field in outputs] if isinstance(answer, Mapping) else list(answer)

    return run


def _pyfunc(folder: Path, inputs: Sequence[Field], outputs: Sequence[Field], device: str, *, listed: bool) -> Loaded:
    os.environ.setdefault("MLFLOW_DEFAULT_PREDICTION_DEVICE", device.partition(":")[0])
    import mlflow.pyfunc

    model = Pyfunc(mlflow.pyfunc.load_model(str(folder)), inputs, listed=listed)
    model.outputs = outputs or model.discover()
    return Loaded(_signature(inputs, model.outputs), model.run, own_thread=True)


def _signature(inputs: Sequence[Field], outputs: Sequence[Field]) -> Signature:
    taken, given = tuple(field.spec for field in inputs), tuple(field.spec for field in outputs)
    first = [spec.shape[0] if spec.shape else 0 for spec in taken + given]
    batched = all(isinstance(size, Dim) and size.name == BATCH for size in first)
    return Signature(taken, given, BATCH if batched else "")


def _missing(folder: Path, name: str) -> ModelLoadFailed:
    if name.partition(".")[0] in ("mlflow", "pandas", "yaml"):
        return ModelLoadFailed(f"models of MLflow need {name} in the worker's environment: {_EXTRA}")
    text = f"the model needs {name}, which is not installed in the worker's environment"
    if (folder / "requirements.txt").is_file():
        text += "; Penstock does not install its requirements.txt"
    return ModelLoadFailed(text)
