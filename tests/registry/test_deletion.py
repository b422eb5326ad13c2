from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import FailedPrecondition, VersionNotFound
from penstock.registry import rules
from penstock.registry.deletion import delete
from penstock.registry.state import Model, Placement, State

from .conftest import draft


def model(*numbers: int) -> Model:
    made: Model | None = None
    for number in numbers:
        made = rules.publish(made, draft(version=number, content=b"%d" % number), 0.0, "ann").model
    assert made is not None
    return made


def test_what_nothing_holds_is_taken_away_and_its_number_with_it() -> None:
    left = delete(model(1, 2, 5), 5, ())
    assert [version.number for version in left.versions] == [1, 2]
    assert rules.publish(left, draft(), 0.0, "ann").model.versions[-1].number == 6
    for number in (3, 5):
        with pytest.raises(FailedPrecondition, match="up to 5 were deleted"):
            rules.published(left, draft(version=number))
    assert rules.published(left, draft(version=2, content=b"2")) is not None
    assert rules.published(left, draft(version=6)) is None
    assert delete(left, 2, ()).settings.deleted_up_to == 5


@pytest.mark.parametrize("state", list(State))
def test_a_version_that_a_worker_holds_stays(state: State) -> None:
    with pytest.raises(FailedPrecondition, match="workers hold it; `penstock undeploy digits --version 2`"):
        delete(model(1, 2), 2, [state])


def test_a_version_that_an_alias_means_stays() -> None:
    with pytest.raises(FailedPrecondition, match="alias 'stable'"):
        delete(model(1, 2), 1, ())


def test_a_pinned_version_stays() -> None:
    known = model(1, 2)
    pinned = rules.with_version(known, replace(known.versions[1], placement=Placement.PINNED))
    with pytest.raises(FailedPrecondition, match="pinned"):
        delete(pinned, 2, ())


def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(VersionNotFound):
        delete(model(1, 2), 3, ())
