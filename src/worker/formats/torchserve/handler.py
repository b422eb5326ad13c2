"""From what the manifest calls the handler to something that can be called with a batch."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ....errors import ModelLoadFailed
from .archive import Archive

Entry = Callable[[Any, Any], Any]
"""(a list of dicts or None, the context) → a list as long."""


def load_handler(archive: Archive, context: Any) -> Entry:
    """Import the handler and let it load its model.

    A module with a function `handle` (or the one named after a colon) is called with None first; else the only class
    that the module defines is made, and its `initialize` called.

    Raises:
        ModelLoadFailed: there is no such handler, or it needs what is not installed.
        Exception: whatever the handler raises.
    """
    file, _, function = archive.handler.partition(":")
    try:
        module = _module(archive, file)
        return _entry(module, function or "handle", context)
    except ModuleNotFoundError as error:
        raise _missing(archive, error.name or "") from error


def _module(archive: Archive, file: str) -> ModuleType:
    name = file.removesuffix(".py").rpartition("/")[2]
    path = archive.folder / f"{name}.py"
    if not path.is_file():
        return _default(name)
    # A handler in `json.py` must not become the json module of everybody else.
    known = name if name not in sys.modules else f"handler_{name}"
    spec = importlib.util.spec_from_file_location(known, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[known] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _default(name: str) -> ModuleType:
    """One of TorchServe's own."""
    path = f"ts.torch_handler.{name}"
    if not name.isidentifier() or importlib.util.find_spec(path) is None:
        text = f"the archive has no {name[:64]}.py, and TorchServe no handler of that name that Penstock has"
        raise ModelLoadFailed(f"{text}; give torch-model-archiver the file with --handler")
    return importlib.import_module(path)


def _entry(module: ModuleType, function: str, context: Any) -> Entry:
    if hasattr(module, function):
        entry: Entry = getattr(module, function)
        entry(None, context)
        return entry
    classes = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    if len(classes) != 1 or not hasattr(classes[0], "handle"):
        found = ", ".join(cls.__name__ for cls in classes) or "none"
        text = f"{module.__name__}.py must define a function {function!r}, or one class with a method `handle`"
        raise ModelLoadFailed(f"{text}; classes in it: {found}")
    handler: Any = classes[0]()
    handler.initialize(context)
    made: Entry = handler.handle
    return made


def _missing(archive: Archive, name: str) -> ModelLoadFailed:
    if name.partition(".")[0] == "ts":
        return ModelLoadFailed(
            f"the handler imports {name}, which Penstock does not have: pip install torchserve there"
        )
    text = f"the handler needs {name}, which is not installed in the worker's environment"
    if archive.requirements:
        text += f"; Penstock does not install the archive's requirements: {', '.join(archive.requirements)[:200]}"
    return ModelLoadFailed(text)
