"""Shall a canary be given more, taken back, or left as it is? Decisions only; every one comes with its words.

A canary is taken back when it is shown to be worse than its bounds allow, and given more when it is shown not to be:
both by tests that hold however often they are made (`sequential`). Between the two it stays where it is. Within a step
both versions are given their shares by chance and at the same time, so that what strikes both does not count against
one; so each step counts anew. The policy's alpha is shared out evenly among all tests of all steps.

What is shown holds for requests whose fates do not depend on each other. Of latency it is only asked that nothing worse
is shown and that the figures themselves keep to the bound: to show that two tails are alike takes tens of thousands of
requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from math import log

from .sequential import (
    Counts,
    evidence_above,
    evidence_below,
    increase,
    interval,
    log_martingale,
    quantile_at_least,
    quantile_at_most,
)
from .traffic import Arm, Canary, Comparison

QUANTILES = (0.5, 0.95)
LEAST_SLOWER_S = 0.001
"""Seconds by which a version must be slower besides, so that nothing is taken back for the tenth of a millisecond."""
_TESTS_PER_STEP = 2 + len(QUANTILES)


class Action(Enum):
    """What to do now."""

    HOLD = auto()
    ADVANCE = auto()
    ROLL_BACK = auto()


class Finding(Enum):
    """What one guard says."""

    OPEN = auto()
    GOOD = auto()
    BAD = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why, in words."""

    action: Action
    words: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a canary at the moment."""

    baseline: Arm
    canary: Arm
    comparison: Comparison | None
    """None: nothing is mirrored to it."""
    load_error: str = ""
    """Why it cannot be loaded any more; empty: it can."""


def decide(canary: Canary, seen: Seen, now: float) -> Verdict:
    """What to do with a canary that runs; `now` in unix seconds."""
    policy = canary.policy
    where = f"step {canary.step + 1} of {len(policy.steps)} ({policy.steps[canary.step]:g} %)"
    if seen.load_error:
        return Verdict(Action.ROLL_BACK, f"{where}: version {canary.version} cannot be loaded any more")
    findings = list(_guards(canary, seen))
    counted = (
        f"{seen.canary.requests} requests to version {canary.version}, "
        f"{seen.baseline.requests} to version {canary.baseline}"
    )
    bad = [words() for finding, words in findings if finding is Finding.BAD]
    if bad:
        return Verdict(Action.ROLL_BACK, f"{where}: {counted}; {'; '.join(bad)}")
    missing = [*_missing(canary, seen, now), *_unfinished(canary, seen)] + [
        words() for finding, words in findings if finding is Finding.OPEN
    ]
    if missing:
        return Verdict(Action.HOLD, f"{where}: {counted}; waits: {'; '.join(missing)}")
    following = policy.steps[canary.step + 1]
    good = "; ".join(words() for _, words in findings)
    return Verdict(Action.ADVANCE, f"{where}: {counted}; {good}; goes on to {following:g} %")


def alpha_of(canary: Canary) -> float:
    """What each test may err by: that of all together is the policy's. The shadow is judged once over all steps."""
    steps = len(canary.policy.steps) - 1
    return canary.policy.alpha / (steps * _TESTS_PER_STEP + 1)


Words = Callable[[], str]
"""Called only for what is said: intervals cost a hundred times what the test does."""


def _guards(canary: Canary, seen: Seen) -> Iterator[tuple[Finding, Words]]:
    policy, alpha = canary.policy, alpha_of(canary)
    one, other = seen.baseline, seen.canary
    for what, hits in (("failed", (one.failures, other.failures)), ("refused", (one.refusals, other.refusals))):
        counts = Counts(one.requests, hits[0]), Counts(other.requests, hits[1])
        yield _share_guard(what, *counts, policy.max_error_increase, alpha)
    if policy.max_latency_ratio:
        for share in QUANTILES:
            yield _latency_guard(share, one, other, policy.max_latency_ratio, alpha)
    if seen.comparison is not None:
        yield _disagreement_guard(seen.comparison, policy.max_disagreement, alpha)


def _share_guard(what: str, one: Counts, other: Counts, bound: float, alpha: float) -> tuple[Finding, Words]:
    limit = log(1.0 / alpha)
    finding = Finding.OPEN
    if evidence_above(one, other, bound) >= limit:
        finding = Finding.BAD
    elif evidence_below(one, other, bound) >= limit:
        finding = Finding.GOOD

    def words() -> str:
        low, high = increase(one, other, alpha)
        shares = f"{other.share:.2%} {what}, against {one.share:.2%}"
        return f"{shares}: {_signed(low)} to {_signed(high)} more, {bound:.2%} may be"

    return finding, words


def _latency_guard(share: float, one: Arm, other: Arm, ratio: float, alpha: float) -> tuple[Finding, Words]:
    before, after = one.latency.quantile(share), other.latency.quantile(share)
    surely = quantile_at_least(other.latency, share, alpha / 2)
    at_most = quantile_at_most(one.latency, share, alpha / 2)
    finding = Finding.GOOD if after <= ratio * before + LEAST_SLOWER_S else Finding.OPEN
    if surely > ratio * at_most + LEAST_SLOWER_S:
        finding = Finding.BAD

    def words() -> str:
        text = f"p{share * 100:g} {after * 1000:.1f} ms, against {before * 1000:.1f} ms: "
        if finding is Finding.BAD:
            text += f"surely above {surely * 1000:.1f} ms against {at_most * 1000:.1f} ms at most, "
        return text + f"{ratio:g} times as much may be"

    return finding, words


def _disagreement_guard(comparison: Comparison, bound: float, alpha: float) -> tuple[Finding, Words]:
    counts = Counts(comparison.same + comparison.compared, comparison.disagreed)
    sure = log_martingale(counts, bound) >= log(1.0 / alpha)
    finding = Finding.OPEN if not sure else Finding.BAD if counts.share > bound else Finding.GOOD

    def words() -> str:
        low, high = interval(counts, alpha)
        compared = f"{counts.share:.2%} of {counts.total} compared answers disagree"
        return f"{compared}: {low:.2%} to {high:.2%}, {bound:.2%} may"

    return finding, words


def _missing(canary: Canary, seen: Seen, now: float) -> Iterator[str]:
    policy = canary.policy
    if seen.canary.requests < policy.min_requests:
        yield f"{policy.min_requests} requests are wanted"
    left = canary.step_started + policy.min_step_s - now
    if left > 0:
        yield f"the step lasts {left:.0f} s more at least"


def _unfinished(canary: Canary, seen: Seen) -> Iterator[str]:
    """Failures that come late, as of a version that hangs, must not be missed because the step is over by then."""
    one, other = seen.baseline, seen.canary
    if other.troubled - one.troubled > canary.policy.max_error_increase:
        yield (
            f"{other.pending} requests to version {canary.version} have not ended yet; should they fail, "
            f"{other.troubled:.2%} did, against {one.troubled:.2%}"
        )


def _signed(share: float) -> str:
    return f"{share:+.2%}"
