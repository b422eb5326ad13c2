from __future__ import annotations

import pytest

from penstock.worker.engine.service_time import ServiceTimes, buckets


def affine(*sizes: int, fixed: float = 0.010, each: float = 0.001) -> ServiceTimes:
    times = ServiceTimes()
    for rows in sizes:
        times.learn(rows, fixed + each * rows)
    return times


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (5, [1, 2, 3, 4, 5]),
        (16, [1, 2, 3, 4, 6, 8, 12, 16]),
        (20, [1, 2, 3, 4, 6, 8, 12, 16, 20]),
        (24, [1, 2, 3, 4, 6, 8, 12, 16, 24]),
    ],
)
def test_the_sizes_that_are_worth_measuring(most: int, sizes: list[int]) -> None:
    assert buckets(most) == sizes


def test_nothing_is_known_at_first() -> None:
    assert ServiceTimes().predict(5) == 0.0


@pytest.mark.parametrize(
    ("rows", "seconds"), [(1, 0.011), (2, 0.012), (3, 0.013), (4, 0.014), (10, 0.020), (16, 0.026), (40, 0.026)]
)
def test_what_lies_between_two_measured_sizes_is_on_the_line_between_them(rows: int, seconds: float) -> None:
    assert affine(1, 4, 16).predict(rows) == pytest.approx(seconds)


def test_fewer_rows_than_were_ever_measured_take_as_long_as_the_fewest() -> None:
    assert affine(4, 16).predict(1) == pytest.approx(0.014)


def test_what_is_learned_again_replaces_what_was_known() -> None:
    times = affine(1, 4, 16)
    times.learn(4, 0.5)
    assert times.predict(4) == 0.5


def test_a_measurement_moves_what_is_known_of_its_size() -> None:
    times = affine(1, 4, 16)
    times.note(4, 0.007)
    assert times.predict(4) == pytest.approx(0.014 - 0.2 * 0.007)
    assert times.predict(16) == pytest.approx(0.026)


def test_a_measurement_between_two_sizes_moves_both_and_the_nearer_one_more() -> None:
    times = affine(1, 4, 16)
    times.note(13, 0.046)
    assert times.predict(16) == pytest.approx(0.026 * (1 + 0.2 * 0.75))
    assert times.predict(4) == pytest.approx(0.014 * (1 + 0.2 * 0.25))
    assert times.predict(1) == pytest.approx(0.011)


def test_measurements_that_fit_change_nothing() -> None:
    times = affine(1, 4, 16)
    for rows in range(1, 17):
        times.note(rows, 0.010 + 0.001 * rows)
    assert [times.predict(rows) for rows in (1, 4, 16)] == pytest.approx([0.011, 0.014, 0.026])


def test_a_model_that_became_slower_is_known_after_a_few_batches() -> None:
    times = affine(1, 4, 16)
    seen = [times.predict(16)]
    for _ in range(20):
        times.note(16, 0.104)
        seen.append(times.predict(16))
    assert seen[8] > 0.08
    assert seen[20] == pytest.approx(0.104, rel=0.02)


def test_one_stall_counts_as_twice_the_usual_time() -> None:
    times = affine(1, 4, 16)
    times.note(16, 100.0)
    assert times.predict(16) == pytest.approx(0.026 * 1.2)


def test_without_a_warm_up_the_first_batches_tell() -> None:
    times = ServiceTimes()
    times.note(2, 0.012)
    assert times.predict(9) == 0.012
    times.note(16, 0.026)
    assert times.predict(9) == pytest.approx(0.019)
