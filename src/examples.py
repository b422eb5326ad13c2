"""Example files: `.npz` in which the input `x` is the array `input.x` and the output `y` the array `output.y`."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .tensors import Array

MAX_BYTES = 1024**3
"""Of all arrays in a file, once they are unpacked."""
_INPUT, _OUTPUT = "input.", "output."


class BadExample(ValueError):
    """The file cannot be used; the text says why, and how it is made."""


@dataclass(frozen=True, slots=True)
class Example:
    """What a file holds, by the names of inputs and outputs."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def read_example(path: Path) -> Example:
    """Read a file. Nothing in it is executed, and nothing of it is believed: whether it fits a model is seen later.

    Raises:
        BadExample: it is not such a file, is too large, or has no inputs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise BadExample(f"{path.name} unpacks to {size} bytes; at most {MAX_BYTES} are read")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in arrays.files}
    except BadExample:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadExample(f"{path.name} cannot be read as .npz: {str(error)[:200]}; {_HOW}") from None
    for name in found:
        if not name.startswith((_INPUT, _OUTPUT)):
            raise BadExample(f"{path.name} has an array {name[:64]!r}; {_HOW}")
    inputs, outputs = _those(found, _INPUT), _those(found, _OUTPUT)
    if not inputs:
        raise BadExample(f"{path.name} has no inputs; {_HOW}")
    return Example(inputs, outputs)


_HOW = 'make it with numpy.savez(file, **{"input.NAME": array, "output.NAME": array})'


def _those(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
