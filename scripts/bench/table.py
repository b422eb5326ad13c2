"""The table that a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from .figure import Figure, Must

COLUMNS = ("figure", "ours", "reference", "ratio", "must", "verdict", "note")
_STYLES = {"met": "green", "SHORT": "red"}


def cells(figure: Figure) -> tuple[str, ...]:
    """One line."""
    added = figure.kind is Must.ADDED
    return (
        figure.name,
        f"{figure.ours:.4g} {figure.unit}",
        f"{figure.reference:.4g} {figure.unit}" if figure.reference else "",
        f"{'+' if added else ''}{figure.value:.3f}" if figure.reference else "",
        f"{'≤ +' if added else figure.kind + ' '}{figure.must:g}" if figure.kind else "",
        figure.verdict,
        figure.note,
    )


def show(figures: Sequence[Figure], failures: Sequence[tuple[str, str]]) -> None:
    """Print everything, what could not be measured last."""
    console = Console(width=None if Console().is_terminal else 200)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in COLUMNS[1:4] else "left", overflow="fold")
    for figure in figures:
        row = cells(figure)
        style = _STYLES.get(figure.verdict, "")
        table.add_row(*(f"[{style}]{cell}[/]" if style and cell == figure.verdict else _plain(cell) for cell in row))
    console.print(table)
    for name, why in failures:
        console.print(f"row {name} could not be measured: {why}", style="red", markup=False)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
