"""Weights as `torch.save` writes them, and `model.py:build` beside them that makes the module.

The file is a pickle, and is only ever read with weights_only=True: one that would run code is refused, not run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelLoadFailed
from ..loaded import Loaded
from .factory import build, fill, serve

_SUFFIXES = (".pt", ".pth", ".bin")
_WRAPPED = ("state_dict", "model_state_dict")
"""Where training loops put it among other things."""
_FORBIDDEN = re.compile(r"GLOBAL (\S+)")


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Read the weights, make the module, and fill it.

    Raises:
        ModelLoadFailed: the file is not a state dict, holds more than tensors, or does not fit the module.
    """
    path = _file(folder)
    weights = _weights(path)
    module = build(folder, entry)
    fill(module, weights, path.name)
    return serve(module, folder, device)


def _file(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise ModelLoadFailed(f"a version has one file of weights (.pt, .pth or .bin); this one has: {there}")
    return found[0]


def _weights(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        read: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        forbidden = _FORBIDDEN.search(str(error))
        why = f"it holds {forbidden[1][:80]}, and only tensors are read" if forbidden else "it is none, or is damaged"
        text = f"{path.name} cannot be read as a state dict: {why}; write it with torch.save(model.state_dict(), …)"
        raise ModelLoadFailed(text) from error
    if isinstance(read, Mapping):
        read = next((read[key] for key in _WRAPPED if isinstance(read.get(key), Mapping)), read)
    if not isinstance(read, Mapping) or not all(isinstance(key, str) for key in read):
        raise ModelLoadFailed(
            f"{path.name} holds a {type(read).__name__}; write it with torch.save(model.state_dict(), …)"
        )
    return read
