"""Whether a split, a shadow and a canary's policy are well formed. Decisions only."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from math import isfinite

from ..errors import Violation
from .names import quoted
from .traffic import CanaryPolicy, Shadow, Split

MAX_PARTS, MAX_STEPS, MAX_KEY = 8, 20, 128


def split_violations(split: Split) -> Iterable[Violation]:
    """What is wrong with a split."""
    if not 1 <= len(split.parts) <= MAX_PARTS:
        yield Violation("split.parts", f"a split has 1 to {MAX_PARTS} parts, got {len(split.parts)}")
    if len({part.version for part in split.parts}) < len(split.parts):
        yield Violation("split.parts", "each version may stand in it once")
    for index, part in enumerate(split.parts[:MAX_PARTS]):
        if not (isfinite(part.weight) and 0 < part.weight <= 1e9):
            text = f"a weight is above 0 and at most 1e9, got {part.weight:g}; leave out versions that get nothing"
            yield Violation(f"split.parts[{index}].weight", text)
    yield from key_violations(split.sticky_key)


def key_violations(key: str) -> Iterable[Violation]:
    """What is wrong with a metadata key; an empty one is none."""
    legal = key.isascii() and all(c.isalnum() or c in "-_." for c in key) and key == key.lower()
    if len(key) > MAX_KEY or not legal:
        text = f"{quoted(key)} is no metadata key: lower case letters, digits, '-', '_' and '.', at most {MAX_KEY}"
        yield Violation("sticky_key", text)


def shadow_violations(shadow: Shadow) -> Iterable[Violation]:
    """What is wrong with a shadow."""
    if not 0 < shadow.share <= 1:
        yield Violation("shadow.share", f"a share is above 0 and at most 1, got {shadow.share:g}")
    if not 0 <= shadow.tolerance < 1e9:
        yield Violation("shadow.tolerance", f"a tolerance is at least 0, got {shadow.tolerance:g}")


def policy_violations(policy: CanaryPolicy) -> Iterable[Violation]:
    """What is wrong with a canary's policy."""
    steps = policy.steps
    ascending = all(one < other for one, other in itertools.pairwise(steps))
    if not (2 <= len(steps) <= MAX_STEPS and ascending and steps[0] > 0 and steps[-1] == 100):
        text = f"steps ascend from above 0 to 100 per cent, one below 100 at least and {MAX_STEPS} at most"
        yield Violation("policy.steps", text)
    if not 1 <= policy.min_requests <= 10**9:
        yield Violation("policy.min_requests", f"from 1 to 1,000,000,000, got {policy.min_requests}")
    if not 0 <= policy.min_step_s <= 30 * 86400:
        yield Violation("policy.min_step_time", f"from 0 to 30 days, got {policy.min_step_s:g} s")
    if not 0 < policy.max_error_increase < 1:
        yield Violation("policy.max_error_increase", f"above 0 and below 1, got {policy.max_error_increase:g}")
    if not (policy.max_latency_ratio == 0 or 1 <= policy.max_latency_ratio < 1e6):
        text = f"at least 1, or 0: as slow as it likes; got {policy.max_latency_ratio:g}"
        yield Violation("policy.max_latency_ratio", text)
    if not 0 < policy.max_disagreement < 1:
        yield Violation("policy.max_disagreement", f"above 0 and below 1, got {policy.max_disagreement:g}")
    if not 1e-9 <= policy.alpha <= 0.5:
        yield Violation("policy.alpha", f"from 1e-9 to 0.5, got {policy.alpha:g}")
