"""When a canary may begin, and what it becomes when it is given more or ends. Decisions only; `now` in unix seconds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..errors import FailedPrecondition
from .names import refuse
from .state import Model
from .traffic import Canary, CanaryPolicy, CanaryState, Part, Split, of_alias
from .traffic_changes import MAX_WORDS, changed
from .traffic_checks import key_violations, policy_violations
from .traffic_rules import busy, known, taken


def start_canary(
    model: Model,
    alias: str,
    version: int,
    policy: CanaryPolicy,
    sticky_key: str,
    expected: int | None,
    available: Collection[int],
    now: float,
    principal: str,
) -> Model:
    """Give a version its first share. Raises as `set_split` does; also FailedPrecondition where there is a split."""
    traffic = known(model, alias, expected)
    baseline = model.aliases[alias]
    if traffic.running is not None:
        raise busy(model, alias, "one at a time")
    if traffic.split is not None:
        raise busy(model, alias, "end the split first with `penstock split --off`", what="a split is set")
    if version == baseline:
        text = f"the alias {alias!r} means version {version} already"
        raise FailedPrecondition(text, precondition=f"{model.name}@{alias}")
    if policy.steps and policy.steps[-1] < 100:
        policy = replace(policy, steps=(*policy.steps, 100.0))
    refuse([*policy_violations(policy), *key_violations(sticky_key)])
    model = taken(model, [version, baseline], available)
    canary = Canary(version, baseline, policy, started=now, step_started=now, principal=principal)
    split = _share(canary, sticky_key)
    text = f"canary: version {version} is given {policy.steps[0]:g} % instead of version {baseline}"
    return changed(model, traffic, replace(traffic, split=split, canary=canary), text, now, principal)


def advance(model: Model, alias: str, words: str, now: float, principal: str) -> Model:
    """Give a running canary its next share, which is not the last."""
    traffic = of_alias(model.settings.traffic, alias)
    canary = traffic.running
    assert canary is not None
    assert traffic.split is not None
    canary = replace(canary, step=canary.step + 1, step_started=now, explanation=words[:MAX_WORDS])
    after = replace(traffic, split=_share(canary, traffic.split.sticky_key), canary=canary)
    return changed(model, traffic, after, f"canary: {words}", now, principal)


def end_canary(model: Model, alias: str, state: CanaryState, words: str, now: float, principal: str) -> Model:
    """End a running canary and its split; the alias stays what it is, also where it is about to be moved.

    Raises:
        AliasNotFound: the model has no such alias.
        FailedPrecondition: none runs.
    """
    traffic = known(model, alias, None)
    if traffic.running is None:
        text = f"no canary runs for the alias {alias!r} of {model.name!r}"
        raise FailedPrecondition(text, precondition=f"{model.name}@{alias}")
    canary = replace(traffic.running, state=state, explanation=words[:MAX_WORDS])
    what = state.name.lower().replace("_", " ")
    after = replace(traffic, split=None, canary=canary)
    return changed(model, traffic, after, f"canary {what}: {words}", now, principal)


def _share(canary: Canary, sticky_key: str) -> Split:
    share = canary.policy.steps[canary.step]
    # The order is that of the versions, and the weights add up to 100, so that a step moves only what it must.
    parts = (Part(canary.baseline, 100.0 - share), Part(canary.version, share))
    return Split(tuple(sorted(parts, key=lambda part: part.version)), sticky_key)
