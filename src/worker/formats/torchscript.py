"""TorchScript `.pt` (deprecated upstream, still everywhere). It carries no shapes, so they are published beside it.

`signature.json` stands in the version's folder, or in the archive's extra files; `penstock publish --input` writes
it. Only inputs must be given: what comes out is found by running the model.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelLoadFailed
from ..loaded import Loaded
from .declared import FILE, read_declared
from .module import from_module


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Load the archive and find out what it gives.

    Raises:
        ModelLoadFailed: no signature, or it is wrong, or the model does not give tensors.
    """
    extra = {FILE: b""}
    module = _read(folder / entry, device, extra)
    parameters = [argument.name for argument in module.forward.schema.arguments[1:]]
    return from_module(module, parameters, read_declared(folder, bytes(extra[FILE])), device)


def _read(path: Path, device: str, extra: dict[str, Any]) -> Any:
    archive: Any = torch.jit.load  # untyped upstream
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream's note that TorchScript is deprecated: it is why this file exists
        try:
            return archive(str(path), map_location=device, _extra_files=extra).eval()
        except Exception as error:
            text = f"{path.name} cannot be read by torch.jit.load: {str(error)[:200]}"
            raise ModelLoadFailed(text + _hint(path)) from error


def _hint(path: Path) -> str:
    """What else is called `.pt`."""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    if "data.pkl" in names and "constants.pkl" not in names:
        return "; if these are weights (a state dict), publish them with --factory FILE.py:NAME"
    return ""
