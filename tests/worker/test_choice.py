from __future__ import annotations

import pytest

from penstock.optimization import Candidate, Optimization, Optimized
from penstock.worker.choice import choose, names, sizes

PLAIN = Candidate("plain", {1: 1.0, 8: 2.0, 32: 4.0})


def measured(name: str, one: float, some: float, most: float, problem: str = "") -> Candidate:
    """How long it takes as a share of plain."""
    return Candidate(name, {1: one, 8: 2 * some, 32: 4 * most}, problem)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([], "plain"),
        ([measured("aot", 0.5, 0.5, 0.5)], "aot"),
        ([measured("compile", 0.5, 0.5, 0.5), measured("aot", 0.4, 0.5, 0.5)], "aot"),
        ([measured("compile", 0.5, 0.5, 0.5), measured("aot", 0.5, 0.5, 0.5)], "compile"),
        ([measured("aot", 0.99, 0.97, 0.98)], "plain"),
        ([measured("aot", 2.0, 2.0, 2.0)], "plain"),
        ([measured("aot", 0.1, 0.1, 1.2)], "plain"),
        ([measured("aot", 0.1, 1.5, 1.04)], "aot"),
        ([measured("compile", 0.1, 0.1, 0.1, "another answer"), measured("aot", 0.8, 0.8, 0.8)], "aot"),
        ([Candidate("aot", {}, "no compiler")], "plain"),
        ([Candidate("aot", {})], "plain"),
        ([measured("aot", 0.0, 0.0, 0.0)], "plain"),
    ],
    ids=[
        "nothing else",
        "faster",
        "fastest",
        "equal",
        "not worth it",
        "slower",
        "slower with the greatest batch",
        "slower with one size",
        "wrong",
        "not made",
        "not measured",
        "nonsense",
    ],
)
def test_the_fastest_that_can_be_used_is_chosen_if_it_is_worth_it(others: list[Candidate], chosen: str) -> None:
    assert choose(Optimization.AUTO, [PLAIN, *others]) == chosen


@pytest.mark.parametrize(
    ("other", "chosen"),
    [(measured("aot", 2, 2, 2), "aot"), (Candidate("aot", {}), "aot"), (Candidate("aot", {}, "no compiler"), "plain")],
)
def test_what_was_asked_for_by_name_is_taken_if_it_can_be_used(other: Candidate, chosen: str) -> None:
    assert choose(Optimization.AOT, [PLAIN, other]) == chosen


@pytest.mark.parametrize(
    ("wanted", "there", "tried"),
    [
        (Optimization.NONE, ["compile", "aot"], []),
        (Optimization.COMPILE, ["compile", "aot"], ["compile"]),
        (Optimization.AOT, [], ["aot"]),
        (Optimization.AUTO, ["compile", "aot"], ["compile", "aot"]),
        (Optimization.AUTO, [], []),
    ],
)
def test_what_is_tried_is_what_was_asked_for(wanted: Optimization, there: list[str], tried: list[str]) -> None:
    assert names(wanted, there) == tried


@pytest.mark.parametrize(("most", "measured"), [(1, [1]), (2, [1, 2]), (3, [1, 3]), (64, [1, 16, 64])])
def test_few_sizes_are_measured_and_the_greatest_is_one_of_them(most: int, measured: list[int]) -> None:
    assert sizes(most) == measured


@pytest.mark.parametrize(
    ("chosen", "gain"), [("plain", 1.0), ("aot", 4.0), ("compile", 0.0), ("unknown", 0.0), ("broken", 0.0)]
)
def test_the_gain_is_that_of_the_greatest_batch(chosen: str, gain: float) -> None:
    found = (PLAIN, measured("aot", 0.5, 0.5, 0.25), Candidate("compile", {}), measured("broken", 0, 0, 0))
    assert Optimized(chosen, found).gain() == gain
