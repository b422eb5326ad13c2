from __future__ import annotations

from penstock.registry.load_failures import MAX_ERROR, LoadFailures
from penstock.registry.state import LoadFailure

KEY = ("digits", 1)


def test_a_failure_is_an_error_until_another_load_begins_and_known_until_one_goes_well() -> None:
    failures = LoadFailures()
    failures.failed(KEY, "boom")
    assert failures.error(KEY) == "boom"
    failures.begun(KEY)
    assert (failures.error(KEY), failures.last(KEY)) == ("", LoadFailure("boom"))
    failures.failed(KEY, "bang")
    assert failures.error(KEY) == "bang"
    failures.begun(KEY)
    failures.forget(KEY)
    assert (failures.error(KEY), failures.last(KEY)) == ("", None)


def test_what_the_supervisor_adds_keeps_the_reason_that_the_worker_gave() -> None:
    failures = LoadFailures()
    failures.failed(KEY, "boom")
    failures.failed(KEY, "", 2, 7.0)
    assert failures.last(KEY) == LoadFailure("boom", 2, 7.0)
    failures.failed(("digits", 2), "", 5)
    assert failures.last(("digits", 2)) == LoadFailure("its load failed", 5)


def test_a_long_reason_is_cut() -> None:
    failures = LoadFailures()
    failures.failed(KEY, "x" * 5000)
    assert len(failures.error(KEY)) == MAX_ERROR
