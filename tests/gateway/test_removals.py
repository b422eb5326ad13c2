from __future__ import annotations

import pytest

from penstock.gateway.removals import Listed, is_overtaken, is_too_much, unexplained

WANTED = {1: 2}


@pytest.mark.parametrize(
    ("worker", "wanted", "held"),
    [
        (Listed("a", 1, answers=True), WANTED, ["a"]),
        (Listed("a", 1, answers=False), WANTED, []),  # it has died
        (Listed("a", 1, answers=True, leaving=True), WANTED, []),  # it drains
        (Listed("a", 1, answers=True), {1: 0}, []),  # undeployed
        (Listed("a", 1, answers=True), {2: 1}, []),  # its version is gone
    ],
)
def test_only_a_worker_that_answers_stays_and_is_wanted_goes_without_a_reason(
    worker: Listed, wanted: dict[int, int], held: list[str]
) -> None:
    assert unexplained([worker], (), wanted) == held
    assert unexplained([worker], ["a"], wanted) == []


@pytest.mark.parametrize(
    ("removed", "recently", "remaining", "held"),
    [
        (0, 0, 0, False),
        (1, 0, 0, True),  # the last one
        (1, 0, 1, False),  # half of two
        (2, 0, 1, True),
        (2, 0, 2, False),
        (3, 0, 2, True),
        (1, 1, 1, True),  # one after the other
        (1, 1, 2, False),
        (0, 5, 1, False),
    ],
)
def test_more_than_half_is_too_much(removed: int, recently: int, remaining: int, held: bool) -> None:
    assert is_too_much(removed, recently, remaining) is held


@pytest.mark.parametrize(
    ("answers", "serves", "overtaken"),
    [
        ([True], False, False),
        ([False, True], False, False),
        ([True], True, True),
        ([False], False, True),
        ([], False, True),
    ],
)
def test_a_registry_that_is_not_believed_takes_over_when_it_serves_or_nothing_old_does(
    answers: list[bool], serves: bool, overtaken: bool
) -> None:
    before = [Listed(str(index), 1, answer) for index, answer in enumerate(answers)]
    assert is_overtaken(before, serves) is overtaken
