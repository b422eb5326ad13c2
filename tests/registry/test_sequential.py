"""What the tests promise, tried on simulated requests: seldom wrong however often they look, and not blind."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, log, sqrt
from random import Random

import pytest

from penstock.histogram import Histogram, bucket_of
from penstock.registry.sequential import (
    Counts,
    evidence_above,
    evidence_below,
    increase,
    interval,
    log_martingale,
    quantile_at_least,
    quantile_at_most,
)

ALPHA = 0.1
LIMIT = log(1 / ALPHA)
RUNS = 200


def looks(random: Random, one: float, other: float, each: int = 20, count: int = 60) -> Iterator[tuple[Counts, Counts]]:
    """Counts of two versions that fail with these probabilities, looked at again and again."""
    hits = [0, 0]
    for look in range(1, count + 1):
        for index, share in enumerate((one, other)):
            hits[index] += sum(random.random() < share for _ in range(each))
        yield Counts(look * each, hits[0]), Counts(look * each, hits[1])


def naive(one: Counts, other: Counts) -> bool:
    """The test for one look, at the same level."""
    pooled = (one.hits + other.hits) / (one.total + other.total)
    spread = sqrt(2 * pooled * (1 - pooled) / one.total)
    return spread > 0 and (other.share - one.share) / spread > 1.2816


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_equal_versions_are_seldom_found_different_by_many_looks(share: float) -> None:
    runs = [list(looks(Random(seed), share, share)) for seed in range(RUNS)]
    alarms = sum(any(evidence_above(*found, 0.0) >= LIMIT for found in run) for run in runs)
    assert alarms <= ALPHA * RUNS


def test_a_test_made_for_one_look_would_be_wrong_far_more_often() -> None:
    runs = [list(looks(Random(seed), 0.02, 0.02)) for seed in range(RUNS)]
    assert sum(any(naive(*found) for found in run) for run in runs) > 3 * ALPHA * RUNS


@pytest.mark.parametrize(("one", "other"), [(0.0, 0.01), (0.05, 0.06), (0.3, 0.31)])
def test_a_version_at_the_bound_is_seldom_found_beyond_it_or_within_it(one: float, other: float) -> None:
    runs = [list(looks(Random(seed), one, other)) for seed in range(RUNS)]
    assert sum(any(evidence_above(*found, 0.01) >= LIMIT for found in run) for run in runs) <= ALPHA * RUNS
    assert sum(any(evidence_below(*found, 0.01) >= LIMIT for found in run) for run in runs) <= ALPHA * RUNS


def test_a_version_that_is_worse_is_found_out() -> None:
    found = [counts for seed in range(20) for counts in list(looks(Random(seed), 0.0, 0.05, count=50))[-1:]]
    assert all(evidence_above(*counts, 0.01) >= log(1000) for counts in found)


def test_a_version_that_is_not_is_cleared() -> None:
    assert evidence_below(Counts(2000, 0), Counts(2000, 0), 0.01) >= log(1000)
    assert evidence_below(Counts(20_000, 200), Counts(20_000, 200), 0.01) >= log(1000)
    assert evidence_below(Counts(200, 0), Counts(200, 0), 0.01) < LIMIT


def test_nothing_is_known_without_requests() -> None:
    assert log_martingale(Counts(0, 0), 0.3) == pytest.approx(0.0)
    assert interval(Counts(0, 0), 0.01) == (0.0, 1.0)
    assert increase(Counts(0, 0), Counts(0, 0), 0.01) == (-1.0, 1.0)
    assert evidence_above(Counts(0, 0), Counts(10, 10), 0.0) < LIMIT


def test_what_has_happened_is_not_impossible() -> None:
    assert log_martingale(Counts(10, 1), 0.0) == inf
    assert log_martingale(Counts(10, 9), 1.0) == inf


def test_the_martingale_is_one_on_average() -> None:
    """Over all sequences of a length, exactly: what Ville's inequality needs."""
    share, length = 0.3, 12
    total = 0.0
    for sequence in range(2**length):
        hits = sequence.bit_count()
        chance = share**hits * (1 - share) ** (length - hits)
        total += chance * 2.718281828459045 ** log_martingale(Counts(length, hits), share)
    assert total == pytest.approx(1.0)


def test_intervals_hold_the_true_share_and_shrink() -> None:
    widths = []
    for counts in ([Counts(100, 5)], [Counts(1000, 50)], [Counts(10_000, 500)]):
        low, high = interval(counts[0], 0.01)
        assert low < 0.05 < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.02


def test_the_interval_of_the_increase_holds_what_the_test_does_not_exclude() -> None:
    one, other = Counts(1000, 10), Counts(1000, 60)
    low, high = increase(one, other, ALPHA)
    assert 0.0 < low < 0.05 < high
    assert evidence_above(one, other, low - 0.001) >= LIMIT > evidence_above(one, other, low + 0.001)


def latencies(random: Random, slower: float, count: int) -> Histogram:
    counts: dict[int, int] = {}
    for _ in range(count):
        bucket = bucket_of(slower * random.lognormvariate(-5, 0.5))
        counts[bucket] = counts.get(bucket, 0) + 1
    return Histogram(counts)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_quantile_is_where_it_is_surely_said_to_be(share: float) -> None:
    true = latencies(Random(0), 1.0, 200_000).quantile(share)
    for seed in range(50):
        found = latencies(Random(seed), 1.0, 1000)
        assert quantile_at_least(found, share, 0.01) <= true * 1.05
        assert quantile_at_most(found, share, 0.01) >= true / 1.05
        assert quantile_at_least(found, share, 0.01) > true / 2
        assert quantile_at_most(found, share, 0.01) < true * 2


def test_no_quantile_is_sure_of_few_values() -> None:
    few = latencies(Random(1), 1.0, 3)
    assert quantile_at_least(few, 0.95, 0.01) == 0.0
    assert quantile_at_most(few, 0.95, 0.01) == inf
    assert quantile_at_most(Histogram(), 0.5, 0.01) == inf
