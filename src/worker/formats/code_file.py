"""A Python file of the version as a module; its neighbours can be imported by it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from ...errors import ModelLoadFailed


def import_file(folder: Path, file: str) -> Any:
    """Run the file and return the module.

    Raises:
        ModelLoadFailed: there is no such Python file.
        Exception: whatever the code raises.
    """
    path = folder / file
    if path.suffix != ".py" or not path.is_file():
        raise ModelLoadFailed(f"the version has no Python file {file!r}")
    sys.path.insert(0, str(path.parent))
    # A servable in `json.py` must not become the json module of everybody else.
    name = path.stem if path.stem not in sys.modules else f"servable_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
