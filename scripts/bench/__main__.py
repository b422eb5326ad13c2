"""`make bench`: measure every row, print one table, keep figures and pictures under docs/results."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from penstock.bench.plot import require

from .bench import QUICK, Bench, Effort
from .figure import Figure
from .plots import draw
from .results import facts, write
from .rows import ROWS, Row
from .table import show

NAMES = [row.name for row in ROWS]


def main() -> int:
    """Returns 0 if everything could be measured, whatever the verdicts."""
    given = _arguments()
    rows = [row for row in ROWS if not given.only or row.name in given.only]
    effort = QUICK if given.quick else Effort()
    effort = replace(effort, rounds=given.rounds or effort.rounds, probe_s=given.probe_seconds or effort.probe_s)
    if given.memory_minutes:
        effort = replace(effort, memory_minutes=given.memory_minutes)
    require()  # matplotlib: before the run, not after it
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        return _run(rows, Bench(Path(folder), effort, _say), given)


def _run(rows: Sequence[Row], bench: Bench, given: argparse.Namespace) -> int:
    about = facts() | {"effort": repr(bench.effort), "arguments": sys.argv[1:]}
    name = _file_name(about["date"][:10], about["commit"], given)
    figures: dict[str, Sequence[Figure]] = {}
    failures: dict[str, str] = {}
    for row in rows:
        _say(f"== {row.name}: {row.about}")
        began = time.monotonic()
        found: list[Figure] = []
        try:
            found.extend(row.measure(bench))
        except Exception as error:  # one row that cannot be measured must not cost the others
            traceback.print_exc()
            failures[row.name] = f"{type(error).__name__}: {error}"
        if found:
            figures[row.name] = found
        _say(f"== {row.name} took {time.monotonic() - began:.0f} s")
        path = write(given.results, name, about, figures, failures)
    show([figure for found in figures.values() for figure in found], list(failures.items()))
    print("\nwritten to", *[path, *draw(given.results, name, figures)], sep="\n  ")
    return 1 if failures else 0


def _file_name(date: str, commit: str, given: argparse.Namespace) -> str:
    """What is not the whole run says so, and does not replace it."""
    parts = ["bench", date, commit.replace("+", "-"), *(given.only or []), *(["quick"] if given.quick else [])]
    return "-".join(parts)


def _arguments() -> argparse.Namespace:
    about = "\n".join(f"  {row.name:12} {row.about}" for row in ROWS)
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        epilog=f"rows:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=NAMES, metavar="ROW", help="this row; may be repeated")
    parser.add_argument("--rounds", type=int, help="of CPU time, of which the median counts")
    parser.add_argument("--probe-seconds", type=float, help="of one rate of a bisection")
    parser.add_argument("--quick", action="store_true", help="short rounds: to see that it runs, not for figures")
    parser.add_argument("--memory-minutes", type=float, default=0.0, help="of the row `memory`; 10 for the record")
    parser.add_argument("--results", type=Path, default=Path("../docs/results"), help="where figures are kept")
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
