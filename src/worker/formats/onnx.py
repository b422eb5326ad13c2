"""ONNX, run by onnxruntime (the extra `onnx`). Names, types and free dimensions are read from the model.

The batch is the free dimension that all inputs have first, of one name or of none. What the model leaves open of its
outputs, as exporters do, is found by running it. `signature.json`, if there is one, says more of the inputs: sizes of
what is free, and names; it cannot say anything else than the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelLoadFailed
from ...signature import TensorSpec
from ..loaded import Loaded
from .declared import HOW, Declared, named, read_declared, signature_of
from .onnx_run import TYPES, runner
from .onnx_shapes import Argument, input_specs, is_open, meanings, narrowed, output_spec
from .probing import probe

_CUDA = "CUDAExecutionProvider"
_ERRORS_ONLY = 3


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Make a session on the device.

    Raises:
        ModelLoadFailed: onnxruntime is not installed, or cannot use the device or the file; the model takes or gives
            what is not a tensor; or what is declared does not fit it.
    """
    session = _session(folder / entry, device)
    taken, given = _arguments(session.get_inputs()), _arguments(session.get_outputs())
    declared = read_declared(folder) or Declared(())
    said = named(declared.inputs, [argument.name for argument in taken])
    _require_shapes(taken, said)
    inputs = narrowed(input_specs(taken), said)
    given = _chosen(given, [spec.name for spec in declared.outputs])
    run = runner(session, inputs, [(argument.name, argument.dtype) for argument in given], device)
    found: dict[str, TensorSpec] = {}
    if any(is_open(argument, meanings(taken, inputs)) for argument in given):
        names = [argument.name for argument in given]
        probed = probe(lambda values: dict(zip(names, run(values), strict=True)), inputs, device)
        inputs, found = probed.inputs, {spec.name: spec for spec in probed.outputs}
    known = meanings(taken, inputs)
    return Loaded(
        signature_of(inputs, [output_spec(argument, known, found.get(argument.name)) for argument in given]), run
    )


def _session(path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelLoadFailed("onnxruntime is not installed here; pip install 'penstock[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # gateway and callers need the cores
    options.log_severity_level = _ERRORS_ONLY
    providers = _providers(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        text = str(error).replace(str(path), path.name)[:300]
        raise ModelLoadFailed(f"{path.name} cannot be read by onnxruntime: {text}") from error
    if device != "cpu" and _CUDA not in session.get_providers():  # it goes on without, and says so in its log only
        raise ModelLoadFailed(
            f"onnxruntime could not use {device}: its CUDA or cuDNN is not the one that it was built for"
        )
    return session


def _providers(device: str, available: Sequence[str]) -> list[Any]:
    """The CPU besides CUDA, for operators that CUDA does not have."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if _CUDA not in available:
        raise ModelLoadFailed(
            f"the device is {device}, and this onnxruntime has no {_CUDA}: install onnxruntime-gpu instead of"
            " onnxruntime, or publish with --device cpu"
        )
    return [(_CUDA, {"device_id": int(device.partition(":")[2] or 0)}), "CPUExecutionProvider"]


def _arguments(arguments: Sequence[Any]) -> list[Argument]:
    for argument in arguments:
        if argument.type not in TYPES:
            hint = "; of scikit-learn's classifiers turn off zipmap" if argument.type.startswith("seq(map") else ""
            raise ModelLoadFailed(f"{argument.name!r} is {argument.type}; only tensors can be served{hint}")
    return [Argument(a.name, TYPES[a.type][0], tuple(a.shape)) for a in arguments]


def _chosen(given: Sequence[Argument], wanted: Sequence[str]) -> list[Argument]:
    """The outputs that are declared, or all."""
    by_name = {argument.name: argument for argument in given}
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise ModelLoadFailed(f"the outputs {missing} are declared, and the model gives {list(by_name)}")
    return [by_name[name] for name in wanted] or list(given)


def _require_shapes(inputs: Sequence[Argument], declared: Sequence[TensorSpec]) -> None:
    """A scalar and an input of any shape look the same in onnxruntime: which it is must be said."""
    said = {spec.name for spec in declared}
    for argument in inputs:
        if not argument.shape and argument.name not in said:
            scalar = f"if it is a scalar, with --input {argument.name}={argument.dtype.name}[]"
            raise ModelLoadFailed(f"the model does not say what shape {argument.name!r} has; {HOW}; {scalar}")
