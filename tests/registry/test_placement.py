from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import FailedPrecondition, InvalidArgument, VersionNotFound
from penstock.registry import placement
from penstock.registry.state import AliasChange, Model, Placement

from .conftest import draft
from .test_rules import model, move

AUTO, PINNED, UNDEPLOYED = Placement.AUTO, Placement.PINNED, Placement.UNDEPLOYED


def placements(model: Model) -> list[Placement]:
    return [v.placement for v in model.versions]


def test_a_deployed_version_is_pinned_and_keeps_what_is_not_said() -> None:
    after = placement.deploy(model(1, 2), 1, 3, "cuda:1")
    assert placements(after) == [PINNED, AUTO]
    again = placement.deploy(after, 1, 0, "")
    assert (again.versions[0].instances, again.versions[0].device) == (3, "cuda:1")


def test_a_deployed_model_goes_back_to_the_rule() -> None:
    assert placements(placement.deploy(placement.undeploy(model(1, 2), 0), 0, 0, "")) == [AUTO, AUTO]


@pytest.mark.parametrize(("number", "instances", "device"), [(-1, 0, ""), (1, -1, ""), (1, 0, "GPU!")])
def test_a_bad_deployment_is_refused(number: int, instances: int, device: str) -> None:
    with pytest.raises(InvalidArgument):
        placement.deploy(model(1), number, instances, device)


def test_an_unknown_version_cannot_be_deployed() -> None:
    with pytest.raises(VersionNotFound):
        placement.deploy(model(1), 2, 0, "")


def test_a_version_that_an_alias_means_cannot_be_undeployed_alone() -> None:
    with pytest.raises(FailedPrecondition, match="the alias 'stable' means digits:1"):
        placement.undeploy(model(1, 2), 1)
    assert placements(placement.undeploy(model(1, 2), 2)) == [AUTO, UNDEPLOYED]


def test_a_whole_model_can_always_be_undeployed() -> None:
    assert placements(placement.undeploy(model(1, 2), 0)) == [UNDEPLOYED, UNDEPLOYED]


MOVED = move(move(model(1, 2, 3), "stable", 2), "stable", 3)  # at time 20


@pytest.mark.parametrize(
    ("case", "now", "expected"),
    [
        (model(1), 0.0, {1: 1}),
        (model(1, 2, 3), 1e9, {1: 1, 2: 0, 3: 1}),  # an alias and the newest
        (MOVED, 21.0, {1: 1, 2: 1, 3: 1}),  # aliases have left two not long ago
        (MOVED, 20.0 + 299.9, {1: 1, 2: 1, 3: 1}),
        (MOVED, 20.0 + 300.0, {1: 0, 2: 0, 3: 1}),
        (placement.deploy(MOVED, 2, 4, ""), 1e9, {1: 0, 2: 4, 3: 1}),
        (placement.undeploy(MOVED, 0), 21.0, {1: 0, 2: 0, 3: 0}),
        (placement.undeploy(MOVED, 1), 21.0, {1: 0, 2: 1, 3: 1}),
        (model(9, 4), 1e9, {9: 1, 4: 1}),  # the newest is the last published, not the greatest
        (Model("digits"), 0.0, {}),
    ],
)
def test_what_is_loaded(case: Model, now: float, expected: dict[int, int]) -> None:
    assert placement.desired_instances(case, now) == expected


def test_instances_count_only_while_a_version_is_loaded() -> None:
    from penstock.registry.rules import publish

    after = publish(None, draft(instances=5), 0.0, "ann").model
    assert placement.desired_instances(after, 0.0) == {1: 5}


def test_the_time_of_the_next_change_is_the_end_of_the_first_warm_version() -> None:
    early = replace(MOVED, changes=(AliasChange("canary", 0, 2, 5.0, "ann"), *MOVED.changes[:2]))
    assert placement.next_change(early, 21.0) == 305.0
    assert placement.next_change(MOVED, 21.0) == 320.0
    assert placement.next_change(MOVED, 320.0) is None
