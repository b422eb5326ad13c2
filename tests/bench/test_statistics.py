from __future__ import annotations

import pytest

from penstock.bench.samples import Samples, merge
from penstock.bench.statistics import cpu_us, quantile, summarise

FULL, LOST = "RESOURCE_EXHAUSTED QUEUE_FULL", "UNAVAILABLE WORKER_LOST"


def run(*requests: tuple[float, float, str], late: float = 0.0, begin: float = 1.0, end: float = 3.0) -> Samples:
    """Requests as (when due, how long it took, outcome)."""
    names = ["OK", *sorted({kind for _, _, kind in requests} - {"OK"})]
    due, took, kinds = zip(*requests, strict=True) if requests else ((), (), ())
    return Samples(begin, end, due, [late] * len(due), took, [names.index(kind) for kind in kinds], names)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 5.0), (0.9, 9.0), (0.91, 10.0), (0.99, 10.0), (1.0, 10.0)]
)
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, expected: float) -> None:
    assert quantile([float(value) for value in range(1, 11)], share) == expected


def test_warm_up_is_not_measured() -> None:
    summary = summarise(run((0.5, 9.0, "OK"), (1.0, 0.010, "OK"), (2.5, 0.030, "OK"), (3.0, 9.0, "OK")))
    assert summary.requests == 2
    assert summary.offered == 1.0
    assert (summary.latency_ms["p50"], summary.latency_ms["max"]) == (10.0, 30.0)


def test_served_counts_answers_when_they_come() -> None:
    summary = summarise(run((0.9, 0.2, "OK"), (1.5, 0.1, "OK"), (2.9, 0.2, "OK"), (2.0, 0.1, FULL)), rows=8)
    assert (summary.served, summary.served_rows) == (1.0, 8.0)


def test_late_and_failed_are_not_on_time() -> None:
    summary = summarise(run((1, 0.05, "OK"), (1.1, 0.051, "OK"), (1.2, 0.01, FULL), (1.3, 0.01, "OK")), 0.05, rows=2)
    assert summary.on_time == 0.5
    assert summary.on_time_rows == 2.0


def test_without_a_limit_nothing_is_late() -> None:
    summary = summarise(run((1, 99.0, "OK")))
    assert (summary.on_time, summary.on_time_rows) == (None, None)


def test_outcomes_are_counted_by_code_and_reason() -> None:
    summary = summarise(run((1, 0.1, FULL), (1, 0.1, FULL), (1, 0.1, LOST), (2, 0.1, "OK")))
    assert summary.outcomes == {FULL: 2, LOST: 1, "OK": 1}
    assert summary.refusal_ms["p50"] == 100.0


def test_nothing_answered_has_no_latency() -> None:
    summary = summarise(run((1, 0.1, LOST)))
    assert (summary.latency_ms, summary.served) == ({}, 0.0)


def test_a_run_is_void_if_the_generator_did_not_keep_up() -> None:
    requests = [(1 + step / 100, 0.01, "OK") for step in range(200)]
    assert summarise(run(*requests, late=0.001)).void == ""
    assert summarise(run(*requests, late=0.019)).void == ""  # one of 200 was sent after the end
    behind = summarise(run(*requests, late=0.5))
    assert behind.achieved == 75.0
    assert behind.void == "only 150 of 200 requests were sent in time: the generator is the limit, not the server"


def test_a_run_without_requests_is_void() -> None:
    assert summarise(run()).void == "nothing was due in the measured seconds"


def test_cpu_time_is_per_right_answer() -> None:
    samples = Samples(0, 2, [0.1, 0.2, 0.3], [0, 0, 0], [0.1] * 3, [0, 0, 1], ["OK", LOST], 0.0, {7: 0.25, 8: 0.75})
    assert cpu_us(samples, [7, 8]) == 500_000
    assert cpu_us(samples, [7]) == 125_000


def test_generators_are_merged_by_the_names_of_outcomes() -> None:
    one, two = run((1, 0.1, "OK"), (2, 0.2, LOST)), run((1.5, 0.3, FULL))
    both = merge([one, two])
    assert summarise(both).outcomes == {"OK": 1, LOST: 1, FULL: 1}
    assert Samples.from_json(both.to_json()) == both
