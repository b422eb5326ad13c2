from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest

from penstock import errors
from penstock.registry import canary_rules, placement, rules, traffic_rules
from penstock.registry.state import Model, Placement
from penstock.registry.traffic import AliasTraffic, CanaryPolicy, CanaryState, Part, Shadow, Split, of_alias
from penstock.registry.traffic_changes import MAX_CHANGES

from .test_rules import model, move

ALL = {1, 2, 3}
HALVES = Split((Part(1, 50.0), Part(2, 50.0)))
POLICY = CanaryPolicy(steps=(10.0, 50.0, 100.0))


def split(known: Model, wanted: Split | None = HALVES, expected: int | None = None, now: float = 20.0) -> Model:
    return traffic_rules.set_split(known, "stable", wanted, expected, ALL, now, "ann")


def shadow(known: Model, version: int = 2, share: float = 0.5, tolerance: float = 0.001, now: float = 20.0) -> Model:
    wanted = Shadow(version, share, tolerance)
    return traffic_rules.set_shadow(known, "stable", wanted, None, ALL, now, "ann")


def canary(known: Model, version: int = 2, policy: CanaryPolicy = POLICY, sticky: str = "") -> Model:
    return canary_rules.start_canary(known, "stable", version, policy, sticky, None, ALL, 20.0, "ann")


def stable(known: Model) -> AliasTraffic:
    return of_alias(known.settings.traffic, "stable")


def weights(known: Model) -> dict[int, float]:
    found = stable(known).split
    return {part.version: part.weight for part in found.parts} if found is not None else {}


def test_a_split_is_set_noted_and_ended() -> None:
    found = split(model(1, 2))
    assert weights(found) == {1: 50.0, 2: 50.0}
    assert stable(found).revision == 1
    (change,) = stable(found).changes
    assert (change.revision, change.time, change.principal) == (1, 20.0, "ann")
    assert change.change == "split: version 1 50.00%, version 2 50.00%"
    ended = split(found, None)
    assert (weights(ended), stable(ended).revision) == ({}, 2)
    assert split(ended, None) == ended


@pytest.mark.parametrize(
    "wanted",
    [
        Split(()),
        Split((Part(1, 0.0), Part(2, 1.0))),
        Split((Part(1, -1.0),)),
        Split((Part(1, nan),)),
        Split((Part(1, inf),)),
        Split((Part(1, 1.0), Part(1, 2.0))),
        Split(tuple(Part(n, 1.0) for n in range(1, 10))),
        Split((Part(1, 1.0),), "X-User"),
        Split((Part(1, 1.0),), "a b"),
    ],
)
def test_what_is_no_split_is_refused(wanted: Split) -> None:
    with pytest.raises(errors.InvalidArgument):
        split(model(1, 2), wanted)


@pytest.mark.parametrize(("share", "tolerance"), [(0.0, 0.1), (1.1, 0.1), (nan, 0.1), (0.5, -0.1), (0.5, nan)])
def test_what_is_no_shadow_is_refused(share: float, tolerance: float) -> None:
    with pytest.raises(errors.InvalidArgument):
        shadow(model(1, 2), share=share, tolerance=tolerance)


@pytest.mark.parametrize(
    "policy",
    [
        replace(POLICY, steps=(100.0,)),
        replace(POLICY, steps=(0.0, 100.0)),
        replace(POLICY, steps=(50.0, 10.0, 100.0)),
        replace(POLICY, steps=(10.0, 200.0)),
        replace(POLICY, steps=(nan, 100.0)),
        replace(POLICY, min_requests=0),
        replace(POLICY, min_step_s=-1.0),
        replace(POLICY, max_error_increase=0.0),
        replace(POLICY, max_latency_ratio=0.5),
        replace(POLICY, max_disagreement=1.0),
        replace(POLICY, alpha=0.0),
        replace(POLICY, alpha=nan),
    ],
)
def test_what_is_no_policy_is_refused(policy: CanaryPolicy) -> None:
    with pytest.raises(errors.InvalidArgument):
        canary(model(1, 2), policy=policy)


def test_versions_that_do_not_answer_get_nothing() -> None:
    for change in (split, shadow, canary):
        with pytest.raises(errors.VersionNotFound):
            change(model(1))
    with pytest.raises(errors.VersionNotAvailable):
        traffic_rules.set_split(model(1, 2), "stable", HALVES, None, {1}, 20.0, "ann")


def test_an_alias_that_is_not_there_has_no_traffic() -> None:
    with pytest.raises(errors.AliasNotFound, match="'stable'"):
        traffic_rules.set_split(model(1, 2), "beta", HALVES, None, ALL, 20.0, "ann")


def test_a_change_by_one_who_has_not_seen_the_last_one_is_refused() -> None:
    found = split(model(1, 2), expected=0)
    with pytest.raises(errors.Conflict, match="revision 1, not 0"):
        split(found, None, expected=0)
    assert split(found, None, expected=1)


def test_a_shadow_of_what_the_alias_means_is_refused() -> None:
    with pytest.raises(errors.FailedPrecondition, match="nothing to compare"):
        shadow(model(1, 2), version=1)


def test_a_shadow_counts_anew_only_when_it_is_set_again() -> None:
    found = split(shadow(model(1, 2)), None)
    assert stable(split(found)).shadow == replace(Shadow(2, 0.5, 0.001), revision=1, since=20.0)
    again = shadow(split(found), now=30.0)
    assert stable(again).shadow == replace(Shadow(2, 0.5, 0.001), revision=3, since=30.0)


def test_a_canary_begins_with_its_first_step_and_goes_on_by_the_others() -> None:
    found = canary(model(1, 2), sticky="x-user-id")
    assert weights(found) == {1: 90.0, 2: 10.0}
    found = canary_rules.advance(found, "stable", "it is well", 30.0, "canary of ann")
    assert weights(found) == {1: 50.0, 2: 50.0}
    traffic = stable(found)
    assert traffic.running is not None
    assert traffic.split is not None
    assert (traffic.running.step, traffic.running.step_started, traffic.running.explanation) == (1, 30.0, "it is well")
    assert traffic.split.sticky_key == "x-user-id"


def test_a_canary_that_is_ended_gives_everything_back() -> None:
    ended = canary_rules.end_canary(canary(model(1, 2)), "stable", CanaryState.ROLLED_BACK, "5 % fail", 30.0, "ann")
    traffic = stable(ended)
    assert (traffic.split, traffic.running, ended.aliases) == (None, None, {"stable": 1})
    assert traffic.canary is not None
    assert (traffic.canary.state, traffic.canary.explanation) == (CanaryState.ROLLED_BACK, "5 % fail")
    assert traffic.changes[-1].change == "canary rolled back: 5 % fail"
    with pytest.raises(errors.FailedPrecondition, match="no canary runs"):
        canary_rules.end_canary(ended, "stable", CanaryState.STOPPED, "", 40.0, "ann")


def test_a_step_that_is_left_out_is_the_whole() -> None:
    running = stable(canary(model(1, 2), policy=replace(POLICY, steps=(20.0,)))).running
    assert running is not None
    assert running.policy.steps == (20.0, 100.0)


def test_a_canary_a_split_and_another_canary_exclude_each_other() -> None:
    with pytest.raises(errors.FailedPrecondition, match="end the split first"):
        canary(split(model(1, 2)))
    with pytest.raises(errors.FailedPrecondition, match="stop it first"):
        split(canary(model(1, 2)))
    with pytest.raises(errors.FailedPrecondition, match="one at a time"):
        canary(canary(model(1, 2, 3)), version=3)
    with pytest.raises(errors.FailedPrecondition, match="means version 1 already"):
        canary(model(1, 2), version=1)


def test_who_moves_the_alias_ends_what_was_set_for_it() -> None:
    moved = move(canary(shadow(model(1, 2, 3), version=3)), "stable", 2)
    traffic = stable(moved)
    assert (traffic.split, traffic.running) == (None, None)
    assert traffic.shadow is not None
    assert traffic.shadow.version == 3
    assert traffic.canary is not None
    assert traffic.canary.state is CanaryState.STOPPED
    assert "version 2" in traffic.canary.explanation
    assert stable(move(moved, "stable", 3)).shadow is None


def test_another_alias_is_another_matter() -> None:
    found = move(split(model(1, 2)), "beta", 2)
    assert weights(found) == {1: 50.0, 2: 50.0}


def test_traffic_of_an_alias_that_is_taken_away_ends() -> None:
    found = move(model(1, 2), "beta", 1)
    found = traffic_rules.set_split(found, "beta", HALVES, None, ALL, 20.0, "ann")
    gone = rules.delete_alias(found, "beta", 30.0, "ann").model
    assert of_alias(gone.settings.traffic, "beta").split is None


def test_versions_are_loaded_while_requests_go_to_them_and_a_while_after() -> None:
    found = shadow(split(model(1, 2, 3, 4)), version=3)
    wanted = placement.desired_instances(found, 25.0, 300.0)
    assert wanted == {1: 1, 2: 1, 3: 1, 4: 1}
    ended = traffic_rules.set_shadow(split(found, None, now=30.0), "stable", None, None, ALL, 40.0, "ann")
    assert placement.desired_instances(ended, 329.0, 300.0) == {1: 1, 2: 1, 3: 1, 4: 1}
    assert placement.desired_instances(ended, 331.0, 300.0) == {1: 1, 2: 0, 3: 1, 4: 1}
    assert placement.desired_instances(ended, 341.0, 300.0) == {1: 1, 2: 0, 3: 0, 4: 1}
    assert placement.next_change(ended, 50.0, 300.0) == 330.0


def test_a_version_that_requests_go_to_is_not_undeployed() -> None:
    with pytest.raises(errors.FailedPrecondition, match="traffic of the alias 'stable'"):
        placement.undeploy(split(model(1, 2)), 2)


def test_a_pinned_version_is_held_by_the_traffic_from_then_on() -> None:
    pinned = placement.deploy(model(1, 2), 2, 0, "")
    assert [v.placement for v in split(pinned).versions] == [Placement.AUTO, Placement.AUTO]


def test_the_history_is_bounded() -> None:
    found = model(1, 2)
    for _ in range(MAX_CHANGES):
        found = split(split(found), None)
    assert len(stable(found).changes) == MAX_CHANGES
    assert stable(found).changes[-1].revision == stable(found).revision == 2 * MAX_CHANGES
