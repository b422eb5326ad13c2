"""A torch module that carries no shapes: its inputs are declared beside it, its outputs found by running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ...errors import ModelLoadFailed
from ...signature import Dim, TensorSpec
from ...torch_tensors import TORCH
from ..loaded import Loaded, Value
from .declared import HOW, Declared, named, numbers, signature_of
from .probing import probe


def from_module(
    module: Callable[..., Any], parameters: Sequence[str], declared: Declared | None, device: str
) -> Loaded:
    """The module as the worker takes it.

    Inputs go to the parameters of their names, if all have a parameter; else in the order of the numbers at their ends
    (`INPUT__0`), if all have one; else in the order in which they were declared. Outputs have the keys of the dict that
    the module gives, or are called `output` or `output_0`, …, unless names were declared, which are matched likewise.

    Args:
        module: on the device already.
        parameters: of its `forward`.
        declared: what is declared beside it.
        device: where it is.

    Raises:
        ModelLoadFailed: nothing is declared, it does not fit the module, or the module does not give tensors.
    """
    if declared is None:
        raise ModelLoadFailed(f"the file carries no shapes; {HOW}")
    inputs = named(declared.inputs, parameters)
    for spec in inputs:
        if spec.dtype not in TORCH:
            raise ModelLoadFailed(f"input {spec.name!r} is {spec.dtype.name}, which torch does not have")
    call = _caller(module, [spec.name for spec in inputs], parameters)
    found = probe(lambda values: _outputs(call(values)), inputs, device)
    chosen = _chosen([spec.name for spec in found.outputs], [spec.name for spec in declared.outputs])
    specs = {spec.name: spec for spec in found.outputs}
    outputs = [TensorSpec(specs[old].dtype, specs[old].shape, new) for new, old in chosen.items()]
    _compare(outputs, declared.outputs)
    return Loaded(signature_of(found.inputs, outputs), _runner(call, list(chosen.values())))


def _caller(module: Callable[..., Any], names: Sequence[str], parameters: Sequence[str]) -> Callable[..., Any]:
    if set(names) <= set(parameters):
        return lambda values: module(**dict(zip(names, values, strict=True)))
    places = numbers(names) or range(len(names))
    if sorted(places) != list(range(len(names))):
        raise ModelLoadFailed(f"inputs are numbered from 0 without gaps; these are {', '.join(names)}")
    order = sorted(range(len(names)), key=places.__getitem__)
    return lambda values: module(*[values[index] for index in order])


def _runner(call: Callable[..., Any], keys: Sequence[str]) -> Callable[[Sequence[Value]], Sequence[Value]]:
    def run(values: Sequence[Value]) -> Sequence[Value]:
        found = _outputs(call(values))
        return [found[key] for key in keys]

    return run


def _outputs(answer: object) -> dict[str, torch.Tensor]:
    if isinstance(answer, torch.Tensor):
        return {"output": answer}
    if isinstance(answer, (tuple, list)) and all(isinstance(v, torch.Tensor) for v in answer):
        return {f"output_{i}": v for i, v in enumerate(answer)}
    if isinstance(answer, Mapping) and all(isinstance(v, torch.Tensor) for v in answer.values()):
        return {str(k): v for k, v in answer.items()}
    raise ModelLoadFailed(
        f"the model gives a {type(answer).__name__}; it must give tensors, or a tuple or dict of them"
    )


def _chosen(found: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """By the outputs' names for callers those that the module gives them."""
    if not wanted or set(wanted) <= set(found):
        return {name: name for name in wanted or found}
    places = numbers(wanted) or range(len(wanted))
    if max(places) >= len(found) or (len(wanted) != len(found) and numbers(wanted) is None):
        raise ModelLoadFailed(f"the outputs {', '.join(wanted)} are declared, and the model gives {', '.join(found)}")
    return {name: found[place] for name, place in zip(wanted, places, strict=True)}


def _compare(outputs: Sequence[TensorSpec], declared: Sequence[TensorSpec]) -> None:
    """Names of free dimensions are the finder's; what is said to be fixed must be as it is said."""
    said = {spec.name: spec for spec in declared}
    for spec in outputs:
        wanted = said.get(spec.name, spec)
        fits = len(wanted.shape) == len(spec.shape) and all(
            isinstance(size, Dim) or size == actual for size, actual in zip(wanted.shape, spec.shape, strict=True)
        )
        if wanted.dtype != spec.dtype or not fits:
            raise ModelLoadFailed(f"output {spec.name!r} is declared {wanted}, and the model gives {spec}")
