"""What `--input` and `--example` say of the inputs of a model that says too little itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..config import BadSetting
from ..signature import BATCH, TensorSpec, parse_spec

FILE = "signature.json"
"""Where workers look for it, beside the model."""


def declared_inputs(inputs: Sequence[str], examples: Sequence[str], *, batch: bool = True) -> tuple[TensorSpec, ...]:
    """The inputs; an explicit `--input` is stronger than an example of the same name.

    Args:
        inputs: `x=FP32[batch,64]` each.
        examples: `x=@x.npy` each; or `x.npy`, for a model with one input, which then has no name here.
        batch: the first dimension of examples is that along which requests are joined; else it is as fixed as the rest.

    Raises:
        BadSetting: one is not like these, or cannot be read.
    """
    found = {spec.name: spec for spec in (_example(text, batch) for text in examples)}
    found |= {spec.name: spec for spec in map(_input, inputs)}
    if "" in found and len(found) > 1:
        raise BadSetting("--example: of several inputs each needs its name, as in --example x=@x.npy")
    return tuple(found.values())


def signature_file(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec] = ()) -> bytes:
    """`signature.json`."""
    said = {"inputs": {spec.name: str(spec) for spec in inputs}}
    if outputs:
        said["outputs"] = {spec.name: str(spec) for spec in outputs}
    return json.dumps(said).encode()


def _input(text: str) -> TensorSpec:
    try:
        return parse_spec(text)
    except ValueError as error:
        raise BadSetting(f"--input: {error}") from None


def _example(text: str, batch: bool) -> TensorSpec:
    import numpy as np  # not needed by most commands

    from ..errors import InvalidTensor
    from ..tensors import dtype_of

    name, equals, path = text.rpartition("=")
    file = Path((path if equals else text).removeprefix("@"))
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it holds several arrays")
        dims = [BATCH, *array.shape[1:]] if batch and array.ndim else array.shape
        return TensorSpec(dtype_of(array), dims, name)
    except (OSError, ValueError, EOFError, InvalidTensor) as error:
        raise BadSetting(f"--example {text!r}: {file} cannot be read as .npy: {error}") from None
