from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import (
    AliasNotFound,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    VersionExists,
    VersionNotAvailable,
    VersionNotFound,
)
from penstock.registry import rules
from penstock.registry.state import AliasChange, Model, Placement

from .conftest import draft


def model(*versions: int) -> Model:
    made: Model | None = None
    for number in versions:
        made = rules.publish(made, draft(version=number), 10.0, "ann").model
    assert made is not None
    return made


def move(model: Model, alias: str, number: int, expected: int | None = None) -> Model:
    return rules.set_alias(model, alias, number, expected, {v.number for v in model.versions}, 20.0, "bob").model


def test_the_first_version_gets_stable_and_a_later_one_nothing() -> None:
    assert model(1).aliases == {"stable": 1}
    assert model(1, 2).aliases == {"stable": 1}


def test_a_version_without_a_number_follows_the_greatest() -> None:
    decision = rules.publish(model(7, 3), draft(), 10.0, "ann")
    assert [v.number for v in decision.model.versions] == [7, 3, 8]


def test_aliases_move_to_a_new_version_when_told() -> None:
    decision = rules.publish(model(1), draft(aliases=("stable", "canary", "canary")), 30.0, "ann")
    assert decision.model.aliases == {"stable": 2, "canary": 2}
    assert decision.changes == (AliasChange("stable", 2, 1, 30.0, "ann"), AliasChange("canary", 2, 0, 30.0, "ann"))


def test_a_version_published_twice_with_the_same_content_is_the_same() -> None:
    before = model(1)
    assert rules.published(before, draft(version=1)) == before.versions[0]
    assert rules.published(before, draft(version=2)) is None
    assert rules.published(before, draft()) is None
    assert rules.published(None, draft(version=1)) is None


def test_a_version_published_twice_with_other_content_is_refused() -> None:
    with pytest.raises(VersionExists) as caught:
        rules.published(model(1), draft(version=1, content=b"others"))
    assert caught.value.resource == ("version", "digits:1")


def test_a_version_published_after_an_undeployment_is_alone_by_the_rule() -> None:
    before = model(1, 2)
    off = replace(before, versions=tuple(replace(v, placement=Placement.UNDEPLOYED) for v in before.versions))
    after = rules.publish(off, draft(), 10.0, "ann").model
    assert [v.placement for v in after.versions] == [Placement.UNDEPLOYED, Placement.UNDEPLOYED, Placement.AUTO]


def test_an_alias_moves_and_its_change_is_noted() -> None:
    decision = rules.set_alias(model(1, 2), "stable", 2, None, {2}, 20.0, "bob")
    assert decision.model.aliases == {"stable": 2}
    assert decision.changes == (AliasChange("stable", 2, 1, 20.0, "bob"),)


def test_an_alias_set_to_what_it_means_is_no_change() -> None:
    before = model(1)
    assert rules.set_alias(before, "stable", 1, None, (), 20.0, "bob") == rules.Decision(before)


@pytest.mark.parametrize(("alias", "expected"), [("stable", 2), ("stable", 0), ("canary", 1)])
def test_an_alias_that_means_something_else_than_expected_stays(alias: str, expected: int) -> None:
    with pytest.raises(Conflict):
        move(model(1, 2), alias, 2, expected)


@pytest.mark.parametrize(("alias", "expected"), [("stable", 1), ("canary", 0)])
def test_an_alias_that_means_what_is_expected_moves(alias: str, expected: int) -> None:
    assert move(model(1, 2), alias, 2, expected).aliases[alias] == 2


def test_an_alias_cannot_mean_what_is_not_available() -> None:
    with pytest.raises(VersionNotAvailable):
        rules.set_alias(model(1, 2), "stable", 2, None, {1}, 20.0, "bob")


def test_an_alias_cannot_mean_what_does_not_exist() -> None:
    with pytest.raises(VersionNotFound):
        move(model(1), "stable", 9)
    with pytest.raises(InvalidArgument):
        move(model(1), "Stable!", 1)


def test_an_alias_takes_over_a_pinned_version() -> None:
    before = model(1, 2)
    pinned = rules.with_version(before, replace(before.versions[1], placement=Placement.PINNED))
    assert move(pinned, "stable", 2).versions[1].placement is Placement.AUTO


def test_stable_cannot_be_deleted_and_others_can() -> None:
    before = move(model(1), "canary", 1)
    assert rules.delete_alias(before, "canary", 30.0, "bob").model.aliases == {"stable": 1}
    with pytest.raises(FailedPrecondition):
        rules.delete_alias(before, "stable", 30.0, "bob")
    with pytest.raises(AliasNotFound):
        rules.delete_alias(before, "other", 30.0, "bob")


def test_a_rollback_goes_to_what_was_meant_before_the_last_change() -> None:
    moved = move(move(model(1, 2, 3), "stable", 2), "stable", 3)
    assert rules.rollback_target(moved, "stable") == 2
    back = move(moved, "stable", 2)
    assert rules.rollback_target(back, "stable") == 3


def test_a_rollback_of_an_alias_that_was_taken_away_brings_it_back() -> None:
    gone = rules.delete_alias(move(model(1), "canary", 1), "canary", 30.0, "bob").model
    assert rules.rollback_target(gone, "canary") == 1


def test_a_rollback_without_a_past_is_refused() -> None:
    with pytest.raises(FailedPrecondition):
        rules.rollback_target(model(1), "stable")
    with pytest.raises(AliasNotFound):
        rules.rollback_target(model(1), "canary")


def test_the_history_in_memory_is_bounded_and_keeps_the_last_change_of_each_alias() -> None:
    stable = AliasChange("stable", 1, 0, 0.0, "ann")
    canary = tuple(AliasChange("canary", 1 + i % 2, 2 - i % 2, float(i), "ann") for i in range(1, 3000))
    kept = rules.remembered((stable, *canary))
    assert kept == (stable, *canary[-rules.MAX_CHANGES :])
