"""What is declared beside a model that says too little itself: `signature.json` in the version's folder.

`penstock publish --input`, or `--example`, writes it: `{"inputs": {"x": "FP32[batch,64]"}}`. Outputs may be declared,
too, in the same way; then they get these names. Where the model has one input only, its name may be left empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ModelLoadFailed
from ...signature import BATCH, Dim, Signature, TensorSpec, parse_spec

FILE = "signature.json"
HOW = "publish with --input NAME=DTYPE[SHAPE], as in --input x=FP32[batch,64], or with --example x.npy"

_NUMBERED = re.compile(r".*__([0-9]{1,4})")
"""Triton's convention: `INPUT__0` is the first argument, `OUTPUT__1` the second output."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What `signature.json` says."""

    inputs: tuple[TensorSpec, ...]
    """One without a name is the model's only one."""
    outputs: tuple[TensorSpec, ...] = ()
    """Empty: not said."""


def read_declared(folder: Path, inside: bytes = b"") -> Declared | None:
    """Read it; None if there is none.

    Args:
        folder: of the version; what lies there is stronger than what the model's own file says.
        inside: what that says.

    Raises:
        ModelLoadFailed: it cannot be understood.
    """
    file = folder / FILE
    text = file.read_bytes() if file.is_file() else inside
    if not text:
        return None
    try:
        said = json.loads(text)
        declared = Declared(_specs(said["inputs"]), _specs(said.get("outputs", {})))
        if not declared.inputs:
            raise ValueError("no inputs")
        return declared
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelLoadFailed(f'{FILE} must be like {{"inputs": {{"x": "FP32[batch,64]"}}}}: {error}') from error


def _specs(said: dict[str, str]) -> tuple[TensorSpec, ...]:
    parsed = {name: parse_spec(f"_={spec}") for name, spec in said.items()}
    return tuple(TensorSpec(spec.dtype, spec.shape, name) for name, spec in parsed.items())


def named(inputs: Sequence[TensorSpec], names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Inputs that all have a name: the sole one that has none gets the model's first.

    Raises:
        ModelLoadFailed: there are several, and one has none.
    """
    if len(inputs) == 1 and not inputs[0].name:
        return (TensorSpec(inputs[0].dtype, inputs[0].shape, names[0] if names else "input"),)
    if not all(spec.name for spec in inputs):
        raise ModelLoadFailed(f"several inputs are declared, and one has no name; write NAME=…: the model has {names}")
    return tuple(inputs)


def numbers(names: Sequence[str]) -> list[int] | None:
    """Which place each name says that it has; None if they do not all end with `__` and a number."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    places = [int(match[1]) for match in found if match]
    return places if len(places) == len(names) == len(set(places)) else None


def signature_of(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Signature:
    """The signature: requests can be joined if the batch stands first everywhere, and nowhere else."""
    batched = all(_begins_with_batch(spec) for spec in (*inputs, *outputs))
    return Signature(tuple(inputs), tuple(outputs), BATCH if batched else "")


def _begins_with_batch(spec: TensorSpec) -> bool:
    batches = [isinstance(size, Dim) and size.name == BATCH for size in spec.shape]
    return bool(batches) and batches[0] and not any(batches[1:])
