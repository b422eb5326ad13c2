"""The options of `publish` about what a version must answer, what it is warmed up with, and how it is computed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from penstock.v1 import model_pb2

from ..config import BadSetting
from .source import File

Golden = Annotated[
    Path | None,
    typer.Option(
        "--golden",
        help="An .npz file with arrays input.NAME and output.NAME: checked at each load.",
        show_default=False,
    ),
]
Rtol = Annotated[
    float | None,
    typer.Option(
        "--golden-rtol",
        help="How far an output may be off, as a share; unset: by its type.",
        show_default=False,
    ),
]
Atol = Annotated[float | None, typer.Option("--golden-atol", help="The same, absolute.", show_default=False)]
WarmUp = Annotated[
    Path | None,
    typer.Option(
        "--warm-up",
        help="An .npz file with arrays input.NAME to warm up and measure with; unset: --golden, or zeros.",
        show_default=False,
    ),
]


class Optimize(StrEnum):
    """Names of penstock.v1.Optimization."""

    NONE = "none"
    COMPILE = "compile"
    AOT = "aot"
    AUTO = "auto"

    @property
    def number(self) -> model_pb2.Optimization.ValueType:
        """As the contract numbers it; `none` is not said."""
        return model_pb2.Optimization.Value(f"OPTIMIZATION_{'UNSPECIFIED' if self == 'none' else self.name}")


Optimization = Annotated[
    Optimize,
    typer.Option("--optimize", help="How workers compute it; auto: what each of them measures to be the fastest."),
]

_FOLDER = ".penstock"
"""In the version, so that they are not taken for files of the model."""


def read_examples(
    golden: Path | None, rtol: float | None, atol: float | None, warm_up: Path | None
) -> tuple[model_pb2.Examples | None, list[File]]:
    """What the options ask for, and the files that belong to it.

    Raises:
        BadSetting: a file cannot be read, or has not what it must have.
    """
    if golden is None and warm_up is None and rtol is None and atol is None:
        return None, []
    examples = model_pb2.Examples(rtol=rtol, atol=atol)
    files = []
    if golden is not None:
        examples.golden = f"{_FOLDER}/golden.npz"
        files.append(_file(golden, examples.golden, "--golden", outputs=True))
    if warm_up is not None:
        examples.warm_up = f"{_FOLDER}/warm-up.npz"
        files.append(_file(warm_up, examples.warm_up, "--warm-up", outputs=False))
    return examples, files


def _file(path: Path, stored: str, option: str, *, outputs: bool) -> File:
    from ..examples import BadExample, read_example  # imports numpy

    try:
        example = read_example(path)
    except BadExample as error:
        raise BadSetting(f"{option}: {error}") from None
    if outputs and not example.outputs:
        raise BadSetting(f"{option}: {path.name} has no outputs; add arrays output.NAME, what the model must answer")
    return File(stored, path)
