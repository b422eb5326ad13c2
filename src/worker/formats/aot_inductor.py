"""AOTInductor's `.pt2`, compiled elsewhere: it runs on hosts like the one where that was done, and carries no shapes.

They are published beside it, as for TorchScript. A package believes what it is given, and would read other memory if
that were something else. So it is loaded twice: the first one looks at its inputs, and proves what was declared; but it
goes on refusing sizes that its compiler did not think of (one row; for some models more than 15). The second serves.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch.utils import _pytree as pytree

from ...errors import ModelLoadFailed
from ..compiled.fitting import misfit
from ..compiled.host import this_host
from ..compiled.package import metadata, unpack
from ..compiled.runner import Compiled, load_compiled
from ..loaded import Loaded
from .declared import read_declared
from .module import from_module


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Load the package.

    Raises:
        ModelLoadFailed: it cannot be read, was compiled for something else, or is not declared as it is.
    """
    declared = read_declared(folder)
    from_module(_module(_unpacked(folder / entry, device, checks=True)), [], declared, device)
    return from_module(_module(_unpacked(folder / entry, device, checks=False)), [], declared, device)


def _unpacked(path: Path, device: str, *, checks: bool) -> Compiled:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-package-"))
        compiled = _read(path, Path(folder), device, checks=checks)
        if device != "cpu":  # a GPU's code is read when it first runs
            atexit.register(stack.pop_all().close)
    return compiled


def _read(path: Path, unpacked: Path, device: str, *, checks: bool) -> Compiled:
    try:
        unpack(path, unpacked)
        problem = misfit(metadata(unpacked), this_host(device))
        if not problem:
            return load_compiled(unpacked, device, checks=checks)
    except Exception as error:
        text = f"{path.name} cannot be loaded as a package of AOTInductor: {str(error)[:200]}"
        raise ModelLoadFailed(f"{text}; was it made by another release of torch?") from error
    raise ModelLoadFailed(f"{path.name} does not run here: {problem}; publish the exported program with --optimize aot")


def _module(compiled: Compiled) -> Callable[..., Any]:
    """It takes and gives what the module did that it was made from."""
    structure = pytree.treespec_loads(compiled.structure)

    def call(*values: Any) -> Any:
        return pytree.tree_unflatten(compiled.run(values), structure)

    return call
