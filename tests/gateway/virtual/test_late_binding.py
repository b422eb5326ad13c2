"""Late binding against the reference (performance.md: device 10 ms + 1 ms a row, batches of 16, Poisson)."""

from __future__ import annotations

import pytest

from .simulation import on_time

EQUAL_2, EQUAL_4, ONE_SLOW = (1.0,) * 2, (1.0,) * 4, (1.0, 1.0, 1.0, 2.0)
OTHERS = ["round_robin", "power_of_two_choices"]


@pytest.mark.parametrize(
    ("speeds", "load", "deadline"), [(EQUAL_2, 0.75, 1.5), (EQUAL_4, 0.90, 1.5), (ONE_SLOW, 0.95, 3.0)]
)
async def test_ninety_nine_of_a_hundred_are_in_time(speeds: tuple[float, ...], load: float, deadline: float) -> None:
    assert await on_time("late_binding", speeds, load, deadline) >= 0.99


@pytest.mark.parametrize(("speeds", "load", "least"), [(EQUAL_2, 0.75, 0.99), (EQUAL_4, 0.90, 0.95)])
async def test_a_longer_way_is_learned_and_costs_little(speeds: tuple[float, ...], load: float, least: float) -> None:
    """A millisecond each way, of thirteen that there are to spare."""
    assert await on_time("late_binding", speeds, load, 1.5, wire=0.001) >= least


@pytest.mark.parametrize("policy", OTHERS)
@pytest.mark.parametrize(
    ("speeds", "load", "deadline"), [(EQUAL_2, 0.75, 1.5), (EQUAL_4, 0.90, 1.5), (ONE_SLOW, 0.95, 3.0)]
)
async def test_those_who_choose_at_arrival_do_worse(
    policy: str, speeds: tuple[float, ...], load: float, deadline: float
) -> None:
    assert await on_time(policy, speeds, load, deadline) < 0.98


async def test_what_is_too_much_does_not_spoil_the_rest() -> None:
    """At 1.5 times what one worker can do, nearly as much is in time as it could do at all."""
    assert 1.5 * await on_time("late_binding", (1.0,), 1.5, 2.0) >= 0.95


async def test_least_predicted_completion_knows_the_slow_one() -> None:
    knowing = await on_time("least_predicted_completion", ONE_SLOW, 0.9, 3.0)
    assert knowing > await on_time("round_robin", ONE_SLOW, 0.9, 3.0)
