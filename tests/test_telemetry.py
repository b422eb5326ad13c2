from __future__ import annotations

import pytest

from penstock.telemetry import TraceConfig, is_sampled, make_tracer

IDS = f"{'a' * 32}-{'b' * 16}"


def never() -> float:
    raise AssertionError("the caller has decided")


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (f"00-{IDS}-01", True),
        (f"00-{IDS}-00", False),
        (f"00-{IDS}-03", True),
        (f"00-{IDS}-02", False),
        (f"cc-{IDS}-01-what-a-later-version-adds", True),
    ],
)
def test_the_caller_decides(traceparent: str, expected: bool) -> None:
    assert is_sampled(traceparent, 0.5, never) is expected


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "x",
        f"ff-{IDS}-01",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f"00-{IDS}-1",
        f"00-{IDS}-zz",
        f"00-{IDS.upper()}-01",
        f"00-{IDS}-01-more",
    ],
)
def test_a_bad_header_counts_as_none_and_the_ratio_decides(traceparent: str) -> None:
    assert is_sampled(traceparent, 0.5, lambda: 0.4)
    assert not is_sampled(traceparent, 0.5, lambda: 0.5)


def test_a_ratio_of_zero_samples_nothing_and_of_one_everything() -> None:
    assert not is_sampled("", 0.0, lambda: 0.0)
    assert is_sampled("", 1.0, lambda: 0.999999)


def test_off_makes_no_tracer() -> None:
    assert make_tracer(TraceConfig("off"), "test") is None


def test_an_unknown_exporter_is_refused() -> None:
    with pytest.raises(ValueError, match="off, console, otlp"):
        make_tracer(TraceConfig("jaeger"), "test")
