"""Weights as safetensors, in one file or several, and `model.py:build` beside them that makes the module.

The library checks offsets, shapes and lengths against the file; what it lets through is checked here, on the header
alone: a name that is there twice, and headers of a size that no model has.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelLoadFailed
from ..loaded import Loaded
from .factory import build, fill, refuse_names, serve

_INDEX = ".safetensors.index.json"
_MOST_HEADER = 16 * 1024 * 1024
"""Bytes. 100,000 tensors take about 10 MB; the format allows 100 MB."""
_MOST_SPARE = 1000
"""So many names more than twice the module's own are looked at; of more the header is enough to refuse them."""


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Make the module and fill it.

    Raises:
        ModelLoadFailed: a file is not safetensors, or its tensors are not exactly those of the module.
    """
    source, files = _files(folder)
    module = build(folder, entry)
    fill(module, _weights(source, files, module), source)
    return serve(module, folder, device)


def _weights(source: str, files: Sequence[Path], module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All tensors by name. They are mapped: a file is read when its tensors are copied."""
    own = module.state_dict()
    names = {path: _names(path) for path in files}
    every = [name for path in files for name in names[path]]
    if len(every) > 2 * len(own) + _MOST_SPARE:
        refuse_names(source, unknown=[name for name in every if name not in own])
    if len(set(every)) != len(every):
        raise ModelLoadFailed(f"{source} names files that hold the same tensor; save the model again")
    return {name: tensor for path in files for name, tensor in _tensors(path)}


def _files(folder: Path) -> tuple[str, list[Path]]:
    """Those of the index if there is one, else the only one; and what an error calls them."""
    indices, singles = sorted(folder.glob(f"*{_INDEX}")), sorted(folder.glob("*.safetensors"))
    if len(indices) == 1:
        return indices[0].name, _listed(indices[0])
    if len(singles) != 1 or indices:
        found = ", ".join(path.name for path in (*indices, *singles)) or "none"
        raise ModelLoadFailed(f"a version has one .safetensors file, or one index of several; this one has: {found}")
    return singles[0].name, singles


def _listed(index: Path) -> list[Path]:
    try:
        names = sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelLoadFailed(f'{index.name} must be like {{"weight_map": {{TENSOR: FILE}}}}: {error}') from error
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise ModelLoadFailed(f"{index.name} names {name[:80]!r}, which is not a file beside it")
    return [index.parent / name for name in names]


def _names(path: Path) -> list[str]:
    """The names of the tensors, from the header."""
    with path.open("rb") as file:
        start = file.read(8)
        (size,) = struct.unpack("<Q", start.ljust(8, b"\0"))
        if len(start) < 8 or size > path.stat().st_size - 8:
            raise ModelLoadFailed(f"{path.name} is not safetensors, or the end of the file is missing")
        if size > _MOST_HEADER:
            raise ModelLoadFailed(f"{path.name} has a header of {size} bytes; at most {_MOST_HEADER} are read")
        header = file.read(size)
    try:
        return [name for name in json.loads(header, object_pairs_hook=_once) if name != "__metadata__"]
    except (ValueError, RecursionError, TypeError) as error:
        raise ModelLoadFailed(f"{path.name} has a header that cannot be read: {str(error)[:200]}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ModelLoadFailed("safetensors is not installed here; pip install 'penstock[worker]'") from error
    try:
        with safe_open(path, framework="pt") as file:
            for name in list(file.keys()):
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise ModelLoadFailed(f"{path.name} cannot be read as safetensors: {str(error)[:200]}") from error
