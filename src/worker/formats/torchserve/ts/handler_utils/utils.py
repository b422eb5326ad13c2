"""Classes by name; answers before the last one."""

from __future__ import annotations

import importlib
from typing import Any


def import_class(class_name: str, module_prefix: str | None = None) -> Any:
    """`package.module.Class`, perhaps below `module_prefix`."""
    module, _, name = class_name.rpartition(".")
    path = ".".join(part for part in (module_prefix, module) if part)
    if not name or not path:
        raise ImportError(f"{class_name!r} names no class in a module")
    found = getattr(importlib.import_module(path), name, None)
    if found is None:
        raise ImportError(f"class:{name} not found in module:{path}.")
    return found


def send_intermediate_predict_response(ret: Any, req_id_map: Any, message: str, code: int, context: Any) -> None:
    """Not offered: a `.mar` answers once."""
    raise NotImplementedError("Penstock serves one answer for each request of a .mar; this handler sends several")
