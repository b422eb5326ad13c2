"""Figures of a run. Latency counts from the scheduled arrival; what failed or came late is not on time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .samples import OK, Samples

VOID_BELOW = 0.99
"""An open loop that sent less than this share of what was to be sent has measured itself, not the server."""
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Summary:
    """One run in a few figures: rates per second, latencies in milliseconds."""

    seconds: float
    requests: int
    """That were due in the measured seconds."""
    offered: float
    """Requests per second that were to be sent."""
    achieved: float
    """Requests per second that were sent in time."""
    served: float
    """Right answers per second, counted when they came."""
    served_rows: float
    outcomes: Mapping[str, int]
    """How many requests ended how; the most frequent first."""
    latency_ms: Mapping[str, float]
    """Of the right answers. Empty if there were none."""
    refusal_ms: Mapping[str, float]
    """Of all other outcomes. Empty if there were none."""
    on_time: float | None
    """The share of requests answered right within the limit; None without a limit."""
    on_time_rows: float | None
    """Rows per second answered right within the limit."""
    late_p99_ms: float
    """How late the generator itself was; latencies contain it."""
    client_cpu_us: float
    """CPU time of the generator per right answer."""
    void: str
    """Why this run says nothing; empty: it does."""


def summarise(samples: Samples, limit: float = 0.0, rows: int = 1) -> Summary:
    """The figures of a run.

    Args:
        samples: of all generators.
        limit: seconds within which an answer is on time; 0: there is no limit.
        rows: of each request.
    """
    seconds = samples.end - samples.begin
    inside = [i for i, due in enumerate(samples.due) if samples.begin <= due < samples.end]
    right = [samples.names[kind] == OK for kind in samples.kinds]
    answered = sorted(samples.took[i] for i in inside if right[i])
    refused = sorted(samples.took[i] for i in inside if not right[i])
    served = served_in(samples)
    sent = sum(samples.due[i] + samples.late[i] < samples.end for i in inside)
    in_time = sum(took <= limit for took in answered)
    counts = Counter(samples.names[samples.kinds[i]] for i in inside)
    return Summary(
        seconds=seconds,
        requests=len(inside),
        offered=len(inside) / seconds,
        achieved=sent / seconds,
        served=served / seconds,
        served_rows=served * rows / seconds,
        outcomes=dict(counts.most_common()),
        latency_ms=percentiles(answered),
        refusal_ms=percentiles(refused),
        on_time=in_time / max(len(inside), 1) if limit else None,
        on_time_rows=in_time * rows / seconds if limit else None,
        late_p99_ms=1000 * quantile(sorted(samples.late[i] for i in inside), 0.99) if inside else 0.0,
        client_cpu_us=1e6 * samples.client_cpu_s / max(served, 1),
        void=void(len(inside), sent),
    )


def served_in(samples: Samples) -> int:
    """Right answers that came in the measured seconds, whenever they were asked for."""
    return sum(
        samples.begin <= due + took < samples.end and samples.names[kind] == OK
        for due, took, kind in zip(samples.due, samples.took, samples.kinds, strict=True)
    )


def void(due: int, sent: int) -> str:
    """Why a run says nothing: the generator did not offer what it was to offer. Empty: it did."""
    if not due:
        return "nothing was due in the measured seconds"
    if sent < VOID_BELOW * due:
        return f"only {sent} of {due} requests were sent in time: the generator is the limit, not the server"
    return ""


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank); `ordered` is not empty."""
    return ordered[max(math.ceil(share * len(ordered) - 1e-9), 1) - 1]


def percentiles(ordered: Sequence[float]) -> dict[str, float]:
    """p50 to p99.9 and the greatest, in milliseconds; nothing of nothing."""
    if not ordered:
        return {}
    return {name: round(1000 * quantile(ordered, share), 3) for name, share in SHARES.items()}


def cpu_us(samples: Samples, pids: Sequence[int]) -> float:
    """CPU microseconds of watched processes per right answer."""
    return 1e6 * sum(samples.cpu_s[pid] for pid in pids) / max(served_in(samples), 1)
