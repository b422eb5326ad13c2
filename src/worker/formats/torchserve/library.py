"""The `ts` that handlers import: TorchServe's own where it is installed, else ours."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from ....errors import ModelLoadFailed

_OURS = Path(__file__).parent / "ts"


def provide_ts() -> None:
    """Make `import ts` work in this process.

    Raises:
        ModelLoadFailed: another package is called `ts`.
    """
    if "ts" in sys.modules or _is_installed():
        return
    if importlib.util.find_spec("ts") is not None:
        raise ModelLoadFailed("a package `ts` is installed in the worker's environment that is not TorchServe's")
    spec = importlib.util.spec_from_file_location("ts", _OURS / "__init__.py", submodule_search_locations=[str(_OURS)])
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ts"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _is_installed() -> bool:
    try:
        importlib.metadata.version("torchserve")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
