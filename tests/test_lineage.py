from __future__ import annotations

import pytest

from penstock.lineage import Lineage


def known(registry_id: str = "a", revision: int = 100) -> Lineage:
    """One that has heard a snapshot."""
    lineage = Lineage()
    lineage.heard(registry_id, revision, snapshot=True)
    return lineage


def test_whoever_is_heard_first_is_believed() -> None:
    lineage = known("", 0)
    assert lineage.believed


@pytest.mark.parametrize(
    ("registry_id", "revision", "believed"),
    [
        ("a", 100, True),  # nothing has happened meanwhile
        ("a", 2**32, True),  # it was started again
        ("a", 99, False),  # it was set back
        ("b", 500, False),  # it is another one
        ("", 500, False),
    ],
)
def test_a_stream_goes_on_from_the_last_one_if_it_is_the_same_registry_and_not_older(
    registry_id: str, revision: int, believed: bool
) -> None:
    lineage = known()
    assert not lineage.heard(registry_id, revision, snapshot=True)
    assert lineage.believed is believed
    assert (lineage.registry_id, lineage.revision) == ((registry_id, revision) if believed else ("a", 100))


def test_a_stranger_does_not_become_known_by_talking_and_the_old_one_is_known_when_it_returns() -> None:
    lineage = known()
    lineage.heard("b", 1, snapshot=True)
    lineage.heard("b", 200)
    assert not lineage.believed
    lineage.heard("a", 101, snapshot=True)
    assert lineage.believed


@pytest.mark.parametrize("stranger", [("b", 7), ("a", 50)])
def test_a_stranger_that_an_operator_confirms_is_believed_from_then_on(stranger: tuple[str, int]) -> None:
    registry_id, revision = stranger
    lineage = known()
    lineage.heard(registry_id, revision, snapshot=True)
    assert lineage.heard(registry_id, revision + 1, confirmed=revision + 1)
    assert lineage.believed
    assert not lineage.heard(registry_id, revision + 2, confirmed=revision + 1)
    assert (lineage.registry_id, lineage.revision) == (registry_id, revision + 2)


def test_a_stranger_that_was_confirmed_before_it_was_heard_is_believed() -> None:
    lineage = known()
    assert lineage.heard("b", 9, snapshot=True, confirmed=8)
    assert lineage.believed


def test_what_was_confirmed_before_is_no_news() -> None:
    lineage = known(revision=100)
    assert not lineage.heard("a", 120, snapshot=True, confirmed=90)
    assert lineage.heard("a", 130, snapshot=True, confirmed=125)


def test_a_stranger_is_adopted_when_nothing_old_is_left() -> None:
    lineage = known()
    lineage.heard("b", 1, snapshot=True)
    lineage.adopt()
    assert lineage.believed
    lineage.heard("b", 2)
    assert (lineage.registry_id, lineage.revision) == ("b", 2)


def test_what_an_earlier_process_heard_counts() -> None:
    lineage = Lineage()
    lineage.restore("a", 100)
    lineage.heard("b", 100, snapshot=True)
    assert not lineage.believed
