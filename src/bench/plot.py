"""A picture of one run: latency over time, and its distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import FailedPrecondition
from .samples import OK, Samples
from .statistics import quantile

INSTALL = "pip install 'penstock[bench]'"
_POINTS = 5000
"""More dots than that are thinned out."""


def figure(columns: int, width: float = 10.0, height: float = 4.0) -> tuple[Any, list[Any]]:
    """A figure with so many plots side by side, that needs no display; the caller saves it.

    Raises:
        FailedPrecondition: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise FailedPrecondition(f"plots need matplotlib: {INSTALL}") from None
    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return made, list(axes)


def require() -> None:
    """Find out before the run, not after it.

    Raises:
        FailedPrecondition: matplotlib is not installed.
    """
    figure(1)


def plot(samples: Samples, title: str, limit: float, path: Path) -> None:
    """Write a PNG.

    Args:
        samples: of the run.
        title: what was run.
        limit: seconds within which an answer is on time; 0: there is no limit.
        path: the file.
    """
    made, (over_time, spread) = figure(2)
    made.suptitle(title, fontsize=10)
    inside = [i for i, due in enumerate(samples.due) if samples.begin <= due < samples.end]
    for right, colour, label in ((True, "tab:blue", "answered"), (False, "tab:red", "failed")):
        dots = [i for i in inside if (samples.names[samples.kinds[i]] == OK) is right]
        dots = dots[:: len(dots) // _POINTS + 1]
        times = [samples.due[i] - samples.begin for i in dots]
        over_time.plot(times, [1000 * samples.took[i] for i in dots], ".", ms=2, alpha=0.5, color=colour, label=label)
    answered = sorted(samples.took[i] for i in inside if samples.names[samples.kinds[i]] == OK)
    if answered:
        shares = [step / 1000 for step in range(1, 1001)]
        spread.plot([1000 * quantile(answered, share) for share in shares], [100 * share for share in shares])
    if limit:
        over_time.axhline(1000 * limit, color="black", lw=0.8, ls="--")
        spread.axvline(1000 * limit, color="black", lw=0.8, ls="--", label="deadline")
        spread.legend(loc="lower right", frameon=False)
    top = 1150 * max(limit, *(samples.took[i] for i in inside), 0.0)  # room for the legend
    over_time.set(xlabel="s", ylabel="ms from the scheduled arrival", ylim=(0, top or 1))
    over_time.legend(loc="upper right", frameon=False, ncols=2)
    spread.set(xlabel="ms", ylabel="% of the answers within", ylim=(0, 100), xlim=(0, None))
    made.savefig(path, dpi=110)
