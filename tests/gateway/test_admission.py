from __future__ import annotations

import pytest

from penstock.errors import ConcurrencyLimit
from penstock.gateway.admission import Admission, AdmissionLimits


def test_as_many_as_may_be_are_admitted_and_the_next_is_refused() -> None:
    admission = Admission(AdmissionLimits(max_requests=2))
    with admission.permit(1), admission.permit(1):
        with pytest.raises(ConcurrencyLimit, match="2 requests are in flight"), admission.permit(1):
            pass
        assert admission.requests == 2
    assert (admission.requests, admission.bytes) == (0, 0)


def test_a_refusal_says_when_to_come_back() -> None:
    with pytest.raises(ConcurrencyLimit) as refused, Admission(AdmissionLimits(max_requests=0)).permit(1):
        pass
    assert refused.value.retry_after == pytest.approx(0.1)


def test_bytes_are_bounded_too() -> None:
    admission = Admission(AdmissionLimits(max_bytes=100))
    with admission.permit(60), pytest.raises(ConcurrencyLimit, match="60 request bytes"), admission.permit(41):
        pass
    with admission.permit(60), admission.permit(40):
        assert admission.bytes == 100


def test_one_alone_is_admitted_whatever_its_size() -> None:
    with Admission(AdmissionLimits(max_bytes=100)).permit(10_000):
        pass


def test_a_request_that_fails_gives_its_place_back() -> None:
    admission = Admission(AdmissionLimits())
    with pytest.raises(ZeroDivisionError), admission.permit(7):
        1 / 0  # noqa: B018
    assert (admission.requests, admission.bytes) == (0, 0)
