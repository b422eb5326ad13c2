from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from penstock.histogram import Histogram, bucket_of
from penstock.registry.canary import Action, Seen, alpha_of, decide
from penstock.registry.traffic import Arm, Canary, CanaryPolicy, Comparison

POLICY = CanaryPolicy(steps=(10.0, 50.0, 100.0), min_requests=500, min_step_s=10.0)
CANARY = Canary(2, 1, POLICY, started=1000.0, step_started=1000.0)
LATER = 1020.0
QUICK = 0.004


def latency(seconds: float, count: int) -> Histogram:
    random = Random(1)
    return Histogram(Counter(bucket_of(seconds * random.lognormvariate(0, 0.3)) for _ in range(count)))


def arm(version: int, requests: int = 4000, failures: int = 0, seconds: float = QUICK, **more: int) -> Arm:
    return Arm(version, requests, failures, latency=latency(seconds, requests - failures), **more)


def seen(canary: Arm, comparison: Comparison | None = None, baseline: Arm | None = None) -> Seen:
    return Seen(baseline or arm(1), canary, comparison)


def test_a_version_that_does_no_harm_is_given_more() -> None:
    verdict = decide(CANARY, seen(arm(2)), LATER)
    assert verdict.action is Action.ADVANCE
    assert "goes on to 50 %" in verdict.words
    assert "0.00% failed, against 0.00%" in verdict.words


@pytest.mark.parametrize(
    ("canary", "says"),
    [
        (arm(2, failures=200), "5.00% failed, against 0.00%"),
        (arm(2, refusals=400), "10.00% refused, against 0.00%"),
        (arm(2, seconds=3 * QUICK), "p50"),
    ],
)
def test_a_version_that_is_surely_worse_is_taken_back_and_said_why(canary: Arm, says: str) -> None:
    verdict = decide(CANARY, seen(canary), LATER)
    assert verdict.action is Action.ROLL_BACK
    assert says in verdict.words


def test_it_is_taken_back_before_the_step_has_lasted_its_time() -> None:
    assert decide(CANARY, seen(arm(2, failures=200)), CANARY.step_started).action is Action.ROLL_BACK


def test_failures_that_both_have_say_nothing_against_it() -> None:
    worse = seen(arm(2, 80_000, failures=4000), baseline=arm(1, 80_000, failures=4000))
    assert decide(CANARY, worse, LATER).action is Action.ADVANCE


def test_a_version_that_can_be_loaded_no_more_is_taken_back() -> None:
    verdict = decide(CANARY, replace(seen(arm(2)), load_error="no such file"), LATER)
    assert verdict.action is Action.ROLL_BACK
    assert "cannot be loaded" in verdict.words


@pytest.mark.parametrize(
    ("canary", "now", "says"),
    [
        (arm(2, 499), LATER, "500 requests are wanted"),
        (arm(2), 1004.0, "6 s more"),
        (arm(2, 600), LATER, "0.00% failed"),
        (arm(2, seconds=1.52 * QUICK + 0.001, requests=501), LATER, "p95"),
    ],
)
def test_what_is_not_sure_is_waited_for_and_said_what(canary: Arm, now: float, says: str) -> None:
    verdict = decide(CANARY, seen(canary), now)
    assert verdict.action is Action.HOLD
    assert says in verdict.words


def test_a_version_that_hangs_is_not_given_more_before_its_requests_have_failed() -> None:
    verdict = decide(CANARY, seen(arm(2, pending=200)), LATER)
    assert verdict.action is Action.HOLD
    assert "200 requests to version 2 have not ended yet" in verdict.words


def test_what_is_on_its_way_to_both_is_no_reason_to_wait() -> None:
    slow = Seen(arm(1, pending=300), arm(2, pending=300), None)
    assert decide(CANARY, slow, LATER).action is Action.ADVANCE


def test_more_pending_than_was_told_of_is_no_riddle() -> None:
    assert decide(CANARY, seen(arm(2, pending=-5)), LATER).action is Action.ADVANCE


def test_a_tenth_of_a_millisecond_is_no_reason() -> None:
    assert decide(CANARY, seen(arm(2, seconds=0.0003), baseline=arm(1, seconds=0.0001)), LATER).action is Action.ADVANCE


def test_latency_may_be_left_out() -> None:
    careless = replace(CANARY, policy=replace(POLICY, max_latency_ratio=0.0))
    assert decide(careless, seen(arm(2, seconds=10 * QUICK)), LATER).action is Action.ADVANCE


@pytest.mark.parametrize(("disagreed", "action"), [(0, Action.ADVANCE), (1000, Action.ROLL_BACK), (21, Action.HOLD)])
def test_answers_that_disagree_are_a_reason_once_it_is_sure(disagreed: int, action: Action) -> None:
    comparison = Comparison(1, 2, mirrored=2000, same=1000, compared=1000, disagreed=disagreed)
    verdict = decide(CANARY, seen(arm(2), comparison), LATER)
    assert verdict.action is action
    assert "2000 compared answers disagree" in verdict.words


def test_a_shadow_that_has_compared_nothing_yet_is_waited_for() -> None:
    assert decide(CANARY, seen(arm(2), Comparison(1, 2)), LATER).action is Action.HOLD


def test_alpha_is_shared_out_among_all_tests_of_all_steps() -> None:
    assert alpha_of(CANARY) * (2 * 4 + 1) == pytest.approx(POLICY.alpha)


def simulated(seed: int, failing: float, policy: CanaryPolicy) -> tuple[Action, int]:
    """A whole canary, looked at after every 200 requests; how it ended, and after how many."""
    random, canary, asked = Random(seed), replace(CANARY, policy=policy), 0
    one, other = Arm(1), Arm(2)
    while True:
        share = policy.steps[canary.step] / 100
        for _ in range(200):
            seconds = QUICK * random.lognormvariate(0, 0.3)
            is_new = random.random() < share
            failed = random.random() < (failing if is_new else 0.002)
            mine = other if is_new else one
            more = Arm(mine.version, 1, int(failed), 0, Histogram({} if failed else {bucket_of(seconds): 1}))
            sums = mine.requests + 1, mine.failures + more.failures, 0, mine.latency.plus(more.latency)
            one, other = (one, Arm(2, *sums)) if is_new else (Arm(1, *sums), other)
        asked += 200
        action = decide(canary, Seen(one, other, None), LATER).action
        if action is Action.ROLL_BACK or (action is Action.ADVANCE and canary.step + 2 == len(policy.steps)):
            return action, asked
        if action is Action.ADVANCE:
            canary, one, other = replace(canary, step=canary.step + 1), Arm(1), Arm(2)


def test_canaries_with_5_per_cent_more_failures_are_taken_back_and_those_with_none_are_promoted() -> None:
    policy = replace(POLICY, steps=(25.0, 50.0, 100.0))
    assert {simulated(seed, 0.05, policy)[0] for seed in range(8)} == {Action.ROLL_BACK}
    assert {simulated(seed, 0.002, policy)[0] for seed in range(8)} == {Action.ADVANCE}
