from __future__ import annotations

from penstock.supervisor.crashes import MAX_CRASHES, Crashes


def test_waits_double_with_each_crash_until_the_version_is_broken() -> None:
    crashes = Crashes()
    assert [(crashes.note(float(n)), crashes.broken) for n in range(MAX_CRASHES)] == [
        (0.0, False),
        (0.5, False),
        (1.0, False),
        (2.0, False),
        (4.0, True),
    ]


def test_a_load_that_fails_is_tried_again_after_one_to_sixty_seconds_and_five_times_in_all() -> None:
    crashes = Crashes()
    waits = []
    for n in range(MAX_CRASHES):
        waits.append((crashes.note_failed_load(now=1000.0 * n + 900.0, began=1000.0 * n), crashes.broken))
    assert waits == [(1.0, False), (4.0, False), (16.0, False), (60.0, False), (60.0, True)]
    assert crashes.tries == 5


def test_instances_that_are_loaded_together_and_fail_together_are_one_try() -> None:
    crashes = Crashes()
    assert [crashes.note_failed_load(now, began=0.0) for now in (5.0, 6.0, 7.0)] == [1.0] * 3
    assert crashes.note_failed_load(now=10.0, began=8.0) == 4.0


def test_a_good_load_forgives_those_that_failed_but_not_crashes() -> None:
    crashes = Crashes()
    for n in range(4):
        crashes.note_failed_load(float(n), began=float(n))
        crashes.note(float(n))
    crashes.note_ready()
    assert crashes.note_failed_load(9.0, began=9.0) == 1.0
    assert not crashes.broken
    crashes.note(10.0)
    assert crashes.broken


def test_crashes_far_apart_do_not_count_together() -> None:
    crashes = Crashes()
    assert [crashes.note(n * 60.0) for n in range(20)] == [0.0] * 20
    assert not crashes.broken


def test_the_wait_is_bounded() -> None:
    crashes = Crashes()
    assert max(crashes.note(n / 10) for n in range(50)) == 30.0
