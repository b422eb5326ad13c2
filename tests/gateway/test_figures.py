from __future__ import annotations

import pytest

from penstock import errors
from penstock.gateway.figures import Difference, Figures, Outcome, outcome_of, outcome_of_abandoned
from penstock.gateway.reporting import map_reports
from penstock.gateway.splitting import Mirror, Rules
from penstock.histogram import bucket_of

RULES = Rules("digits", "stable", 1, 5, ((1, 9.0), (2, 1.0)), mirror=Mirror(3, 1.0, 0.01, 4))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.InvalidArgument("no"), Outcome.REFUSED),
        (errors.InvalidInput("no"), Outcome.REFUSED),
        (errors.ModelError("boom"), Outcome.FAILED),
        (errors.WorkerLost("lost"), Outcome.FAILED),
        (errors.QueueFull("full"), Outcome.FAILED),
        (errors.DeadlineExceeded("late"), Outcome.FAILED),
        (errors.Cancelled("gone"), Outcome.CANCELLED),
        (ZeroDivisionError(), Outcome.FAILED),
    ],
)
def test_what_an_error_says_of_its_version(error: Exception, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


@pytest.mark.parametrize(
    ("now", "outcome"), [(12.0, Outcome.CANCELLED), (19.0, Outcome.FAILED), (25.0, Outcome.FAILED)]
)
def test_a_caller_who_leaves_when_the_time_is_over_was_kept_waiting(now: float, outcome: Outcome) -> None:
    assert outcome_of_abandoned(10.0, 20.0, now) is outcome


@pytest.mark.parametrize(
    ("difference", "disagrees"),
    [
        (Difference(False, 5.0, 0.009, 0.1, 4, 4), False),
        (Difference(False, 5.0, 0.011, 0.1, 4, 4), True),
        (Difference(False, 0.0, 0.0, 0.0, 4, 3), True),
        (Difference(True), True),
    ],
)
def test_when_answers_disagree(difference: Difference, disagrees: bool) -> None:
    assert difference.disagrees(0.01) is disagrees


def test_what_was_counted_is_taken_once_and_told_by_alias_and_revision() -> None:
    figures = Figures()
    for outcome in (Outcome.ANSWERED, Outcome.ANSWERED, Outcome.FAILED, Outcome.REFUSED, Outcome.CANCELLED):
        figures.arm(RULES, 2).pending += 1
        figures.arm(RULES, 2).add(outcome, 0.5)
    figures.arm(RULES, 1).pending += 1
    pair = figures.pair(RULES, 1)
    pair.mirrored += 1
    pair.answered(0.5, 0.75)
    pair.differ(Difference(False, 2.0, 0.5, 0.25, 4, 3), 0.01)
    by_arm, by_pair = map_reports(*figures.take())
    assert (by_arm.name, by_arm.alias, by_arm.revision, by_arm.shadow_revision) == ("digits", "stable", 5, 0)
    second, first = by_arm.arms
    assert (second.version, second.requests, second.failures, second.refusals, second.pending) == (2, 4, 1, 1, 0)
    assert (list(second.latency.buckets), list(second.latency.counts)) == ([bucket_of(0.5)], [2])
    assert (first.version, first.requests, first.pending) == (1, 0, 1)
    assert (by_pair.revision, by_pair.shadow_revision) == (0, 4)
    (compared,) = by_pair.comparisons
    assert (compared.version, compared.shadow_version, compared.compared, compared.disagreed) == (1, 3, 1, 1)
    assert (compared.rows, compared.top1_rows, compared.slower_seconds) == (4, 3, 0.25)
    assert list(compared.max_abs.buckets) == [bucket_of(2.0)]
    assert map_reports(*figures.take()) == []
