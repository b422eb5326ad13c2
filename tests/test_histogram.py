from __future__ import annotations

from collections import Counter
from math import inf, nan
from random import Random

import pytest

from penstock.histogram import ZERO, Histogram, bounded, bucket_of, middle, upper_bound


def histogram(*values: float) -> Histogram:
    return Histogram(Counter(map(bucket_of, values)))


@pytest.mark.parametrize("value", [1e-9, 0.003, 1.0, 1.0000001, 7.7, 1e6])
def test_a_value_is_at_most_its_buckets_bound_and_its_middle_is_near(value: float) -> None:
    bucket = bucket_of(value)
    assert upper_bound(bucket - 1) < value <= upper_bound(bucket)
    assert middle(bucket) == pytest.approx(value, rel=0.046)


@pytest.mark.parametrize(("value", "as_if"), [(0.0, 0.0), (-1.0, 0.0), (1e-30, 1e-20), (1e30, inf), (nan, inf)])
def test_what_has_no_bucket_of_its_own_is_counted_at_an_end(value: float, as_if: float) -> None:
    assert bucket_of(value) == bucket_of(as_if)


def test_quantiles_are_those_of_the_values_nearly() -> None:
    random = Random(1)
    values = sorted(random.lognormvariate(-4, 1) for _ in range(10_000))
    found = histogram(*values)
    for share in (0.01, 0.5, 0.95, 0.999):
        assert found.quantile(share) == pytest.approx(values[int(share * len(values)) - 1], rel=0.05)


def test_two_histograms_are_that_of_all_values() -> None:
    assert histogram(1.0, 2.0).plus(histogram(2.0, 0.0)) == histogram(0.0, 1.0, 2.0, 2.0)
    assert histogram(1.0).plus(Histogram()) == histogram(1.0)


def test_nothing_has_the_quantile_0() -> None:
    assert Histogram().quantile(0.5) == 0.0


@pytest.mark.parametrize(("given", "known"), [(ZERO, ZERO), (-5000, ZERO), (-900, -320), (7, 7), (10**9, 320)])
def test_a_bucket_from_elsewhere_is_made_one_that_is_known(given: int, known: int) -> None:
    assert bounded(given) == known
