from __future__ import annotations

import pytest

from penstock import errors
from penstock.gateway.quarantine import Quarantine, is_poison, is_verdict

ONE, TWO = ("digits", 1), ("digits", 2)


def test_what_was_running_at_one_death_is_suspect_and_at_two_is_poison() -> None:
    quarantine = Quarantine()
    assert not quarantine
    assert not is_poison(quarantine.died("a", ONE, b"q", 0.0))
    assert quarantine
    assert quarantine.deaths(ONE, b"q", 1.0) == 1
    assert is_poison(quarantine.died("b", ONE, b"q", 2.0))
    assert is_poison(quarantine.deaths(ONE, b"q", 3.0))


def test_another_version_and_another_request_are_others() -> None:
    quarantine = Quarantine()
    quarantine.died("a", ONE, b"q", 0.0)
    assert quarantine.deaths(TWO, b"q", 0.0) == 0
    assert quarantine.deaths(ONE, b"r", 0.0) == 0


def test_what_was_answered_alone_is_innocent() -> None:
    quarantine = Quarantine()
    quarantine.died("a", ONE, b"q", 0.0)
    quarantine.survived(ONE, b"q")
    assert not quarantine
    quarantine.survived(ONE, b"unknown")


def test_after_ten_minutes_it_is_forgotten() -> None:
    quarantine = Quarantine()
    quarantine.died("a", ONE, b"q", 0.0)
    quarantine.died("b", ONE, b"q", 100.0)
    assert quarantine.deaths(ONE, b"q", 699.9) == 2
    assert quarantine.deaths(ONE, b"q", 700.0) == 0
    assert not quarantine


def test_no_more_than_a_thousand_are_remembered_the_oldest_leave() -> None:
    quarantine = Quarantine()
    for number in range(1025):
        quarantine.died("a", ONE, str(number).encode(), float(number) / 100)
    assert quarantine.deaths(ONE, b"0", 11.0) == 0
    assert quarantine.deaths(ONE, b"1", 11.0) == quarantine.deaths(ONE, b"1024", 11.0) == 1


def test_a_worker_that_dies_of_many_like_it_has_died_once() -> None:
    quarantine = Quarantine()
    assert [quarantine.died("a", ONE, b"q", 0.0) for _ in range(5)] == [1] * 5
    assert quarantine.died("b", ONE, b"q", 1.0) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ModelError("it raised"), True),
        (errors.InvalidTensor("it has the wrong shape"), True),
        (errors.QueueFull("full"), False),
        (errors.ExpiredInQueue("late"), False),
        (errors.DeadlineExceeded("it may still run"), False),
        (errors.WorkerDraining("it ends"), False),
        (errors.LeaseFenced("it is another one"), False),
    ],
)
def test_only_what_has_run_can_be_innocent(error: errors.PenstockError, expected: bool) -> None:
    assert is_verdict(error) is expected
