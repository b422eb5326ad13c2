"""The examples that a version carries, as its model takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.v1 import model_pb2

from ..errors import InvalidTensor, ModelLoadFailed
from ..examples import BadExample, Example, read_example
from ..signature import Signature, TensorShape, TensorSpec, fit
from ..tensors import Array, stored
from .agreement import Tolerance
from .samples import Samples


@dataclass(frozen=True, slots=True)
class Golden:
    """What the model is asked at each load, and what it must answer."""

    inputs: Sequence[Array]
    """One for each input of the signature."""
    outputs: Sequence[Array]
    """One for each output."""
    rows: int


@dataclass(frozen=True, slots=True)
class Examples:
    """All of them."""

    samples: Samples
    """What to warm up and to measure with."""
    golden: Golden | None
    tolerance: Tolerance


def read_examples(folder: Path, published: model_pb2.Examples, signature: Signature) -> Examples:
    """Read what the version carries; the inputs of the golden example are the samples if there are no others.

    Args:
        folder: with the version's files.
        published: which of them are examples.
        signature: of the model, as callers see it.

    Raises:
        ModelLoadFailed: a file cannot be read, or does not fit the signature.
    """
    golden = _golden(folder / published.golden, signature) if published.golden else None
    inputs = golden.inputs if golden else None
    if published.warm_up:
        what = "the warm-up inputs"
        inputs, _ = _inputs(_read(folder / published.warm_up, what), signature, what)
    tolerance = Tolerance(
        published.rtol if published.HasField("rtol") else None, published.atol if published.HasField("atol") else None
    )
    return Examples(Samples(signature, inputs), golden, tolerance)


def _golden(path: Path, signature: Signature) -> Golden:
    what = "the golden example"
    example = _read(path, what)
    inputs, rows = _inputs(example, signature, what)
    names = [spec.name for spec in signature.outputs]
    if sorted(example.outputs) != sorted(names):
        raise ModelLoadFailed(f"{what} has the outputs {_listed(example.outputs)}, and the model {_listed(names)}")
    outputs = [_stored(example.outputs[spec.name], spec, f"{what}: output") for spec in signature.outputs]
    return Golden(inputs, outputs, rows)


def _inputs(example: Example, signature: Signature, what: str) -> tuple[list[Array], int]:
    """In the model's order, and how many rows they have."""
    arrays = list(example.inputs.values())
    found = fit(signature, [TensorShape(name, None, array.shape) for name, array in example.inputs.items()])
    if found.violations:
        raise ModelLoadFailed(f"{what}: {'; '.join(violation.description for violation in found.violations[:3])}")
    named = zip(found.order, signature.inputs, strict=True)
    return [_stored(arrays[index], spec, f"{what}: input") for index, spec in named], found.rows


def _read(path: Path, what: str) -> Example:
    try:
        return read_example(path)
    except BadExample as error:
        raise ModelLoadFailed(f"{what}: {error}") from error


def _stored(array: Array, spec: TensorSpec, what: str) -> Array:
    try:
        return stored(array, spec.dtype)
    except InvalidTensor as error:
        raise ModelLoadFailed(f"{what} {spec.name!r}: {error.message}") from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
