"""A torch module made by Python code of the version, and filled with the weights that lie beside it.

The entry names the code, `model.py:build`: a function or a class that is called without arguments or, where the version
has a `config.json`, with what that says: as `config` if it has a parameter of this name, else by keyword.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelLoadFailed
from ..loaded import Loaded
from .code_file import import_file
from .declared import read_declared
from .module import from_module

_CONFIG = "config.json"
_NAMED = 5
"""So many names stand in an error."""


def build(folder: Path, entry: str) -> torch.nn.Module:
    """Have the code make the module, in host memory, with whatever weights it starts with.

    Raises:
        ModelLoadFailed: there is no such code, or it makes something else.
        Exception: whatever the code raises.
    """
    file, _, name = entry.partition(":")
    make = getattr(import_file(folder, file), name, None)
    if not callable(make):
        raise ModelLoadFailed(f"{file} has no {name!r} that makes the module; name it, as in --factory {file}:build")
    module = make(**_arguments(make, folder / _CONFIG))
    if not isinstance(module, torch.nn.Module):
        raise ModelLoadFailed(f"{entry} makes a {type(module).__name__}; it must make a torch.nn.Module")
    return module


def _arguments(make: Any, path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelLoadFailed(f"{_CONFIG} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelLoadFailed(f'{_CONFIG} must be an object, such as {{"hidden": 64}}')
    return {"config": config} if "config" in inspect.signature(make).parameters else config


def fill(module: torch.nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Give the module exactly these weights; `source` is what an error calls them.

    Raises:
        ModelLoadFailed: some are missing, unknown to the module, or of another shape.
    """
    own = module.state_dict()
    try:
        missing, unknown = module.load_state_dict(weights, strict=False)
    except (RuntimeError, TypeError) as error:  # shapes that differ; values that are not tensors
        raise ModelLoadFailed(f"{source} does not fit the module: {_plain(error)}") from error
    refuse_names(source, missing=[name for name in missing if not _is_tied(name, own, weights)], unknown=unknown)


def refuse_names(source: str, *, missing: Sequence[str] = (), unknown: Sequence[str] = ()) -> None:
    """Raise ModelLoadFailed if there are any."""
    parts = [f"{what} {_some(names)}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
    if parts:
        raise ModelLoadFailed(f"{source} does not fit the module: {'; '.join(parts)}")


def serve(module: torch.nn.Module, folder: Path, device: str) -> Loaded:
    """The filled module as the worker takes it."""
    parameters = list(inspect.signature(module.forward).parameters)
    return from_module(module.to(device).eval(), parameters, read_declared(folder), device)


def _is_tied(name: str, own: Mapping[str, torch.Tensor], weights: Collection[str]) -> bool:
    """Whether it is the same memory as one that was given: of tied weights safetensors keeps one."""
    place = own[name].data_ptr()
    return any(other in weights and own[other].data_ptr() == place for other in own if other != name)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(ascii(name[:80]) for name in names[:_NAMED]) + more


def _plain(error: Exception) -> str:
    """Upstream's text, from its second line on: the first says what it is about."""
    text = str(error)
    return " ".join((text.partition("\n")[2] or text).split())[:300]
