from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from penstock.gateway.picker import POLICIES, LeastPredictedCompletion, Picker, PowerOfTwoChoices, RoundRobin, _two


@dataclass(eq=False)
class Lane:
    name: str
    in_flight: int = 0

    def predicted(self, now: float) -> float:
        return now + self.in_flight


def lanes(*in_flight: int) -> list[Lane]:
    return [Lane(str(number), busy) for number, busy in enumerate(in_flight)]


def made(policy: str, subchannels: list[Lane], seed: int = 1) -> Picker[Lane]:
    make: Any = POLICIES[policy]
    picker: Picker[Lane] = make(subchannels, Random(seed))
    return picker


def test_round_robin_takes_each_in_its_turn() -> None:
    abc = lanes(0, 0, 0)
    picker = RoundRobin(abc, Random(1))
    picks = [picker.pick((), 0.0) for _ in range(6)]
    start = abc.index(picks[0])  # type: ignore[arg-type]
    assert picks == [abc[(start + turn) % 3] for turn in range(6)]


def test_many_gateways_do_not_begin_with_the_same_worker() -> None:
    abc = lanes(0, 0, 0)
    assert {RoundRobin(abc, Random(seed)).pick((), 0.0) for seed in range(40)} == set(abc)


def test_of_two_the_less_busy_is_picked() -> None:
    idle, busy = pair = lanes(0, 5)
    picker = PowerOfTwoChoices(pair, Random(1))
    assert {picker.pick((), 0.0) for _ in range(50)} == {idle}
    idle.in_flight = 9
    assert {picker.pick((), 0.0) for _ in range(50)} == {busy}


def test_two_choices_never_take_the_busiest_of_many() -> None:
    many = lanes(1, 2, 3, 4)
    picks: Counter[str] = Counter()
    picker = PowerOfTwoChoices(many, Random(2))
    picks += Counter(found.name for _ in range(1000) if (found := picker.pick((), 0.0)))
    assert picks["3"] == 0
    assert picks["0"] > picks["1"] > picks["2"] > 0


def test_every_pair_is_as_likely_as_any_other() -> None:
    random, pairs = Random(3), Counter[frozenset[int]]()
    for _ in range(6000):
        pairs[frozenset(_two(4, random))] += 1
    assert len(pairs) == 6
    assert all(len(pair) == 2 and 850 < count < 1150 for pair, count in pairs.items())


def test_who_would_be_done_first_is_picked() -> None:
    slow, quick, busy = abc = lanes(3, 1, 7)
    picker = LeastPredictedCompletion(abc, Random(1))
    assert picker.pick((), 5.0) is quick
    quick.in_flight = 4
    assert picker.pick((), 5.0) is slow
    assert picker.pick((slow, quick), 5.0) is busy


@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_tried_is_avoided_while_there_is_another(policy: str) -> None:
    one, two, three = abc = lanes(0, 0, 0)
    picker = made(policy, abc)
    assert {picker.pick((one, two), 0.0) for _ in range(20)} == {three}
    assert one not in {picker.pick((one,), 0.0) for _ in range(50)}


@pytest.mark.parametrize("policy", POLICIES)
def test_when_all_were_tried_one_is_tried_again(policy: str) -> None:
    ab = lanes(0, 0)
    assert made(policy, ab).pick(ab, 0.0) in ab


@pytest.mark.parametrize("policy", POLICIES)
def test_without_subchannels_nothing_is_picked(policy: str) -> None:
    assert made(policy, []).pick((), 0.0) is None


@pytest.mark.parametrize("policy", POLICIES)
def test_the_only_one_is_picked(policy: str) -> None:
    only = lanes(7)
    assert made(policy, only).pick((), 0.0) is only[0]
