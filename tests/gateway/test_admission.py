from __future__ import annotations

import pytest

from penstock.errors import ConcurrencyLimit
from penstock.gateway.admission import Admission, AdmissionLimits


def test_as_many_as_may_be_are_admitted_and_the_next_is_refused() -> None:
    admission = Admission(AdmissionLimits(max_requests=2))
    admission.admit(1)
    admission.admit(1)
    with pytest.raises(ConcurrencyLimit, match="2 requests are in flight"):
        admission.admit(1)
    assert admission.requests == 2
    admission.leave(1)
    admission.leave(1)
    assert (admission.requests, admission.bytes) == (0, 0)


def test_a_refusal_says_when_to_come_back() -> None:
    with pytest.raises(ConcurrencyLimit) as refused:
        Admission(AdmissionLimits(max_requests=0)).admit(1)
    assert refused.value.retry_after == pytest.approx(0.1)


def test_bytes_are_bounded_too() -> None:
    admission = Admission(AdmissionLimits(max_bytes=100))
    admission.admit(60)
    with pytest.raises(ConcurrencyLimit, match="60 request bytes"):
        admission.admit(41)
    admission.admit(40)
    assert admission.bytes == 100


def test_one_alone_is_admitted_whatever_its_size() -> None:
    Admission(AdmissionLimits(max_bytes=100)).admit(10_000)
