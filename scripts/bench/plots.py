"""Pictures of a run: latency against load, served against offered, CPU per request by process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.bench.plot import figure as blank

from .figure import Figure


def draw(folder: Path, name: str, figures: Mapping[str, Sequence[Figure]]) -> list[Path]:
    """Write a PNG for each row that was measured and has one."""
    made = []
    if "sweep" in figures:
        points = figures["sweep"][0].raw["points"]
        made += [_latency(folder / f"{name}-latency.png", points), _served(folder / f"{name}-served.png", points)]
    if "cpu" in figures:
        made.append(_cpu(folder / f"{name}-cpu.png", figures["cpu"]))
    return made


def _latency(path: Path, points: Sequence[Mapping[str, Any]]) -> Path:
    made, (axis,) = blank(1, 7)
    loads = [point["load"] for point in points if point["latency_ms"]]
    for name, style in (("p50", "-"), ("p90", "--"), ("p99", "-")):
        axis.plot(loads, [p["latency_ms"][name] for p in points if p["latency_ms"]], style, marker=".", label=name)
    axis.axhline(points[0]["limit_ms"], color="black", lw=0.8, ls=":", label="deadline, 3 s(B)")
    axis.set(xlabel="offered / offline", ylabel="ms, of what was answered", ylim=(0, None), xlim=(0, None))
    axis.set_title("Latency against load (device 10 ms + 1 ms per row, B = 16)", fontsize=10)
    axis.legend(frameon=False)
    made.savefig(path, dpi=110)
    return path


def _served(path: Path, points: Sequence[Mapping[str, Any]]) -> Path:
    made, (axis,) = blank(1, 7)
    offered = [point["offered"] / point["offline"] for point in points]
    axis.plot([0, 1, offered[-1]], [0, 1, 1], color="black", lw=0.8, ls=":", label="nothing lost")
    axis.plot(offered, [point["on_time_rows"] / point["offline"] for point in points], marker=".", label="on time")
    axis.set(xlabel="offered / offline", ylabel="rows on time / offline", ylim=(0, 1.1), xlim=(0, None))
    axis.set_title("Served against offered, D = 3 s(B)", fontsize=10)
    axis.legend(frameon=False, loc="lower right")
    made.savefig(path, dpi=110)
    return path


def _cpu(path: Path, figures: Sequence[Figure]) -> Path:
    bars = [(figure.name.removeprefix("CPU/request, "), figure.raw["ours"]["us"]) for figure in figures]
    bars += [(f"bare grpc.aio, {_in_flight(figure)}", figure.raw["reference"]["us"]) for figure in _floors(figures)]
    made, (axis,) = blank(1, 9, 0.6 + 0.45 * len(bars))
    colours = {"echo": "tab:gray", "gateway": "tab:blue", "worker": "tab:orange"}
    for process, colour in colours.items():
        widths = [parts.get(process, 0.0) for _, parts in bars]
        before = [parts["gateway"] if process == "worker" and "gateway" in parts else 0.0 for _, parts in bars]
        axis.barh([name for name, _ in bars], widths, left=before, color=colour, label=process)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set(xlabel="CPU microseconds per request")
    axis.legend(frameon=False)
    made.savefig(path, dpi=110)
    return path


def _floors(figures: Sequence[Figure]) -> list[Figure]:
    return [figure for figure in figures if "bare" in figure.name]


def _in_flight(figure: Figure) -> str:
    return figure.name.rpartition(", ")[2]
