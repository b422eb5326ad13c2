from __future__ import annotations

from math import inf

import pytest

from penstock.exchange.pace import Pace


def after(*left: float, answered: bool = False, answer_at: float = 10.002) -> Pace:
    """Messages left at these times; the answer to the last one should be here at `answer_at`."""
    pace = Pace()
    pace.answer_at = answer_at
    for at in left:
        pace.left(at)
    if answered:
        pace.answered()
    return pace


MANY = tuple(9.990 + 0.001 * number for number in range(10))
FEW = tuple(9.0 + 0.1 * number for number in range(10))


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [
        (after(*MANY), 0.002),
        (after(*MANY, answered=True), 0.0),
        (after(*FEW), 0.0),
        (after(*MANY[:7]), 0.0),
        (after(*MANY, answer_at=9.999), 0.0),
        (after(*MANY, answer_at=-inf), 0.0),
        (after(*MANY, answer_at=11.0), 0.005),
        (after(), 0.0),
    ],
    ids=[
        "where much is said the next message waits for the answer",
        "it is here",
        "where little is said nothing waits",
        "nor at the beginning",
        "the answer is overdue",
        "the answer is not worth waiting for",
        "nothing waits long",
        "nothing was said",
    ],
)
def test_how_long_a_message_goes_on_collecting(pace: Pace, seconds: float) -> None:
    assert pace.hold(10.0) == pytest.approx(seconds)
