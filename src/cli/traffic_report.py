"""How the traffic of an alias is printed: what is set, what was counted, who changed what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from penstock.v1 import traffic_pb2 as pb

from .options import Format
from .output import out, print_json, print_rows

if TYPE_CHECKING:
    from ..client import ArmStatus, ComparisonStatus, TrafficStatus

_MS = 1000


def print_traffic(found: Sequence[pb.AliasTraffic], output: Format) -> None:
    """Everything about these aliases."""
    from dataclasses import asdict

    from ..client.traffic import traffic_status

    if output is Format.JSON:
        print_json([asdict(traffic_status(t)) | {"changes": list(map(_change, t.changes))} for t in found])
        return
    if not found:
        out().print("all requests go to the version that the alias means")
    for traffic in found:
        for line in lines_of(traffic_status(traffic)):
            out().print(line, markup=False)
        print_figures(traffic_status(traffic))
        if traffic.changes:
            rows = [tuple(_change(change).values()) for change in reversed(traffic.changes)]
            print_rows(output, ["Revision", "Time", "By", "Change"], rows)


def lines_of(traffic: TrafficStatus) -> Iterable[str]:
    """What is set, one line each."""
    alias = traffic.alias
    if traffic.split:
        total = sum(traffic.split.values())
        parts = ", ".join(f"version {version} {weight / total:.2%}" for version, weight in traffic.split.items())
        yield f"{alias} is split: {parts}{f', sticky by {traffic.sticky_key}' if traffic.sticky_key else ''}"
    else:
        yield f"{alias} is not split"
    if traffic.shadow:
        yield f"{alias} is mirrored: {traffic.shadow_share:.2%} of what is answered goes to version {traffic.shadow}"
    if (canary := traffic.canary) is not None:
        where = f", step {canary.step} of {len(canary.steps)}" if canary.state == "RUNNING" else ""
        said = f": {canary.explanation}" if canary.explanation else ""
        yield f"{alias} canary version {canary.version} (before: {canary.baseline}) {canary.state}{where}{said}"


def print_figures(traffic: TrafficStatus) -> None:
    """What was counted, as tables."""
    if traffic.arms:
        columns = ["Version", "Requests", "Failed", "Refused", "Pending", "p50 ms", "p95 ms"]
        print_rows(Format.TABLE, columns, map(_arm, traffic.arms))
    if traffic.comparisons:
        columns = ["Answers of", "Shadow", "Compared", "Same", "Disagree", "Failed", "Dropped", "Top 1", "Max abs"]
        columns += ["Relative", "1 - cosine", "p50 ms", "Shadow p50 ms"]
        print_rows(Format.TABLE, columns, map(_comparison, traffic.comparisons))


def _arm(arm: ArmStatus) -> tuple[Any, ...]:
    counts = arm.version, arm.requests, arm.failures, arm.refusals, arm.pending
    return *counts, f"{arm.p50_s * _MS:.2f}", f"{arm.p95_s * _MS:.2f}"


def _comparison(c: ComparisonStatus) -> tuple[Any, ...]:
    compared = c.same + c.compared
    disagree = f"{c.disagreed / compared:.2%}" if compared else "-"
    top1 = f"{c.top1_rows / c.rows:.2%}" if c.rows else "-"
    numbers = f"{c.max_abs:.3g}", f"{c.relative:.3g}", f"{c.cosine_distance:.3g}"
    times = f"{c.p50_s * _MS:.2f}", f"{c.shadow_p50_s * _MS:.2f}"
    counts = compared, c.same, disagree, c.failed, c.dropped + c.uncompared, top1
    return c.version, c.shadow_version, *counts, *numbers, *times


def _change(change: pb.TrafficChange) -> dict[str, Any]:
    return {
        "revision": change.revision,
        "time": change.time.ToJsonString(),
        "by": change.principal,
        "change": change.change,
    }
