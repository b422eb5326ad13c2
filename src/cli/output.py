"""How commands print: data on stdout, all else on stderr; colours only on a terminal, and never with NO_COLOR."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from .options import Format

STATE_STYLES = {
    "AVAILABLE": "green",
    "LOADING": "yellow",
    "START": "yellow",
    "UNLOADING": "magenta",
    "END": "dim",
    "FAILED": "red",
}


def out() -> Console:
    """For data."""
    return Console(highlight=False)


def err() -> Console:
    """For what a person may want to know besides."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document."""
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def print_rows(format_: Format, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table, or a list of objects whose keys are the columns in snake case."""
    if format_ is Format.JSON:
        keys = [column.lower().replace(" ", "_") for column in columns]
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    out().print(table)


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    style = STATE_STYLES.get(text)
    return f"[{style}]{text}[/{style}]" if style else text.replace("[", "\\[")


def progress() -> Progress:
    """A progress bar on stderr; nothing where stderr is not a terminal."""
    console = err()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
