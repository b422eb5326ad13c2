"""torch.export's `.pt2`: the signature and the bounds of every free dimension are read from the exported program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree as pytree
from torch.utils._sympy.numbers import int_oo

from ...errors import ModelLoadFailed
from ...signature import BATCH, Dim, Signature, TensorSpec
from ...torch_tensors import dtype_of_torch
from ..compiled.aot import compiled_program
from ..compiled.cache import CompiledCache
from ..loaded import Loaded, Run, Value

_SYMBOL = re.compile(r"[A-Za-z_]\w*")


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Load the program and move it to the device.

    Raises:
        ModelLoadFailed: an input or output is not a tensor, or the file is not an exported program.
    """
    try:
        program = torch.export.load(folder / entry)
    except Exception as error:
        raise ModelLoadFailed(f"{entry} cannot be read by torch.export.load: {str(error)[:200]}") from error
    if device != "cpu":
        program = move_to_device_pass(program, device)
    inputs, outputs = _inputs(program), _outputs(program)
    batch = _batch_symbol([value for _, value in inputs + outputs])
    low, high = _range(program, batch)
    names = _dimensions(inputs, batch)
    signature = Signature(
        tuple(_spec(name, value, names, program) for name, value in inputs),
        tuple(_spec(name, value, names, program) for name, value in outputs),
        BATCH if batch else "",
    )
    return Loaded(
        signature,
        _runner(program, program.module()),
        max_rows=high,
        min_rows=max(low, 1),
        faster={
            "compile": lambda _: _compiled(program),
            "aot": lambda cache: _aot(program, folder / entry, device, cache),
        },
    )


def _compiled(program: ExportedProgram) -> Run:
    """By torch.compile, when it is first run."""
    module: Any = torch.compile(program.module(), dynamic=bool(program.range_constraints))
    return _runner(program, module)


def _aot(program: ExportedProgram, file: Path, device: str, cache: Path) -> Run:
    """By AOTInductor. What it makes believes its inputs, so that all which the program checks must be in the signature.

    Raises:
        Exception: it cannot be compiled.
    """
    for name, value in _inputs(program):
        strange = [str(size) for size in value.shape if not _is_fixed(size) and not str(size).isidentifier()]
        if strange:
            raise ModelLoadFailed(f"sizes of input {name!r} depend on each other: {', '.join(strange)}")
        if not value.is_contiguous():
            raise ModelLoadFailed(f"input {name!r} was exported with strides of its own")
    return compiled_program(file, device, CompiledCache(cache))


def _runner(program: ExportedProgram, module: Any) -> Run:
    structure = program.call_spec.in_spec

    def run(inputs: Sequence[Value]) -> Sequence[Value]:
        args, kwargs = pytree.tree_unflatten(inputs, structure)
        return pytree.tree_leaves(module(*args, **kwargs))

    return run


def _inputs(program: ExportedProgram) -> list[tuple[str, torch.Tensor]]:
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [
        (str(name), _tensor(str(name), nodes[str(name)].meta["val"])) for name in program.graph_signature.user_inputs
    ]


def _outputs(program: ExportedProgram) -> list[tuple[str, torch.Tensor]]:
    """Named as the module's own answer names them: by its keys, or `output` or `output_0`, … where it has none."""
    nodes = {node.name: node for node in program.graph.nodes}
    found = [_value(nodes, name) for name in program.graph_signature.user_outputs]
    paths = pytree.tree_flatten_with_path(pytree.tree_unflatten(found, program.call_spec.out_spec))[0]
    return [(name, _tensor(name, value)) for name, (_, value) in zip(_names(paths), paths, strict=True)]


def _value(nodes: dict[str, Any], name: object) -> object:
    """What a node gives; constants among the outputs have none."""
    return nodes[name].meta["val"] if isinstance(name, str) and name in nodes else name


def _names(paths: Sequence[tuple[Any, Any]]) -> Iterator[str]:
    for index, (path, _) in enumerate(paths):
        parts = [str(part.key if isinstance(part, pytree.MappingKey) else part.idx) for part in path]
        if any(isinstance(part, pytree.MappingKey) for part in path):
            yield ".".join(parts)
        else:
            yield "output" if len(paths) == 1 else f"output_{index}"


def _tensor(name: str, value: object) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise ModelLoadFailed(f"{name!r} is {value!r:.40}, not a tensor; export the model with tensors only")
    return value


def _batch_symbol(values: Sequence[torch.Tensor]) -> str:
    """The free dimension that stands first everywhere; empty if there is none."""
    first = {str(value.shape[0]) if value.dim() and not _is_fixed(value.shape[0]) else "" for value in values}
    return first.pop() if len(first) == 1 else ""


def _is_fixed(size: Any) -> bool:
    return isinstance(size, int)


def _range(program: ExportedProgram, symbol: str) -> tuple[int, int | None]:
    """The bounds of a free dimension, from the export's constraints."""
    for known, bounds in program.range_constraints.items():
        if str(known) == symbol:
            # torch's infinity calls itself finite, and `int` cannot hold it.
            return int(bounds.lower), None if bounds.upper is int_oo else int(bounds.upper)
    return 0, None


def _dimensions(inputs: Sequence[tuple[str, torch.Tensor]], batch: str) -> dict[str, str]:
    """What each free dimension is called: where it stands first, `ids_1`, since the file keeps symbols, not names."""
    names = {batch: BATCH} if batch else {}
    for name, value in inputs:
        for axis, size in enumerate(value.shape):
            if str(size).isidentifier():
                names.setdefault(str(size), f"{name}_{axis}")
    return names


def _spec(name: str, value: torch.Tensor, names: Mapping[str, str], program: ExportedProgram) -> TensorSpec:
    dims = [int(size) if _is_fixed(size) else _free(str(size), names, program) for size in value.shape]
    return TensorSpec(dtype_of_torch(value.dtype), dims, name)


def _free(symbol: str, names: Mapping[str, str], program: ExportedProgram) -> Dim:
    """A dimension that is computed from others (`2*s0`) has no bounds of its own."""
    low, high = _range(program, symbol)
    name = _SYMBOL.sub(lambda match: names.get(match[0], match[0]), symbol)
    return Dim(name, 1 if name == BATCH else low, high)  # fewer rows than the program takes are filled up
