"""What `bench` says in the end: a table, JSON, a picture."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from time import strftime
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config import BadSetting
from .options import Format
from .output import err, out, print_json, print_rows

if TYPE_CHECKING:
    from ..bench.plan import Plan
    from ..bench.question import Question
    from ..bench.samples import Samples
    from ..bench.statistics import Summary

EXIT_VOID = 1
"""The run says nothing: the generator could not offer its load, or nothing was answered."""
_SHOWN = ("address", "lane", "rate", "concurrency", "duration", "warmup", "deadline", "seed", "connections")


def title(name: str, plan: Plan) -> str:
    """What is run, in a few words."""
    load = f"{plan.rate:g}/s Poisson" if plan.rate else f"{plan.concurrency} in flight"
    return f"{name}, {load}, {plan.lane}"


def facts(name: str, plan: Plan, question: Question, summary: Summary) -> dict[str, Any]:
    """Everything that is needed to run it again, and what came of it."""
    return {
        "model": name,
        "settings": {key: getattr(plan, key) for key in _SHOWN} | {"rows": question.rows, "shapes": question.shapes},
        "figures": asdict(summary),
        "date": strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": f"{platform.node()}, {platform.machine()}, Python {platform.python_version()}",
        "penstock": __version__,
    }


def write_json(found: dict[str, Any], path: Path) -> None:
    """Write the facts; raises BadSetting if they cannot be."""
    try:
        path.write_text(json.dumps(found, indent=2) + "\n")
    except OSError as error:
        raise BadSetting(f"--json {path} cannot be written: {error.strerror}") from None


def write_plot(samples: Samples, text: str, limit: float, path: Path) -> None:
    """Write a PNG; raises BadSetting if it cannot be."""
    from ..bench.plot import plot

    try:
        plot(samples, text, limit, path)
    except (OSError, ValueError) as error:  # the disk; an ending that matplotlib does not know
        raise BadSetting(f"--plot {path} cannot be written: {error}") from None


def report(found: dict[str, Any], text: str, rows: int, summary: Summary, output: Format) -> int:
    """Print it. Returns the exit status."""
    if output is Format.JSON:
        print_json(found)
    else:
        out().print(f"[bold]{text}[/], {rows} row{'s' if rows != 1 else ''} each, {summary.seconds:g} s")
        print_rows(output, ["Figure", "Value"], [*_rates(summary, found["settings"]["rate"] > 0), *_latencies(summary)])
        print_rows(output, ["Outcome", "Requests"], list(summary.outcomes.items()))
    if summary.void:
        err().print(f"[yellow]VOID[/] {summary.void}", soft_wrap=True)
    return EXIT_VOID if summary.void or not summary.latency_ms else 0


def _rates(summary: Summary, is_open: bool) -> list[tuple[str, str]]:
    made = [("offered", f"{summary.offered:.1f}/s (sent in time {summary.achieved:.1f}/s)")] if is_open else []
    made.append(("served", f"{summary.served:.1f}/s, {summary.served_rows:.1f} rows/s"))
    if summary.on_time is not None:
        made.append(("on time", f"{100 * summary.on_time:.2f} % of requests, {summary.on_time_rows:.1f} rows/s"))
    return made


def _latencies(summary: Summary) -> list[tuple[str, str]]:
    made = [(f"latency {name.replace('_', '.')}", f"{ms:.2f} ms") for name, ms in summary.latency_ms.items()]
    if summary.refusal_ms:
        made.append(("failures p50, p99", f"{summary.refusal_ms['p50']:.2f} ms, {summary.refusal_ms['p99']:.2f} ms"))
    return made
