"""torch's just-in-time compiler in a worker: it works in a folder that goes away, and not once there are callers."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_FOLDER = "TORCHINDUCTOR_CACHE_DIR"


@contextmanager
def scratch() -> Iterator[None]:
    """A folder for what torch compiles in this block. What was loaded from it stays loaded.

    Meanwhile warnings are not shown: compilers have many, and none for those who serve a model.
    """
    before = os.environ.get(_FOLDER)
    with tempfile.TemporaryDirectory(prefix="penstock-compiler-", ignore_cleanup_errors=True) as folder:
        os.environ[_FOLDER] = folder
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            os.environ.pop(_FOLDER)
            if before is not None:
                os.environ[_FOLDER] = before


def no_more_compiling() -> None:
    """From now on, in all of this process, what would have to be compiled first is computed without a compiler."""
    torch.compiler.set_stance("eager_on_recompile")
