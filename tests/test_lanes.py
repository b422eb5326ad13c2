"""The order in which requests are served."""

from __future__ import annotations

from math import inf

import pytest

from penstock.lanes import PRIORITIES, order_of


@pytest.mark.parametrize(
    ("sooner", "later"),
    [
        pytest.param((0.0, 1.0, 0), (0.0, 2.0, 0), id="the nearer deadline"),
        pytest.param((0.0, inf, 0), (1.0, inf, 0), id="without deadlines, who came first"),
        pytest.param((0.0, 60.0, 0), (0.1, 600.0, 0), id="with much time, who came first"),
        pytest.param((0.0, 1.0, PRIORITIES["high"]), (0.0, 1.0, 0), id="the higher lane"),
        pytest.param((0.0, 1.0, 0), (0.0, 1.0, PRIORITIES["low"]), id="the lower lane waits"),
        pytest.param((0.0, inf, PRIORITIES["low"]), (2.0, inf, PRIORITIES["high"]), id="but it ages"),
    ],
)
def test_who_is_served_first(sooner: tuple[float, float, int], later: tuple[float, float, int]) -> None:
    assert order_of(*sooner) < order_of(*later)


def test_no_lane_is_further_away_than_the_last() -> None:
    assert order_of(0.0, 5.0, 99) == order_of(0.0, 5.0, 3)
    assert order_of(0.0, 5.0, -99) == order_of(0.0, 5.0, -3)
