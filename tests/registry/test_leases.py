from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.errors import LeaseFenced
from penstock.registry.leases import Leases


def test_a_lease_ends_when_it_is_not_renewed_for_its_ttl() -> None:
    leases = Leases(10.0)
    leases.grant("w", 1, 0.0)
    leases.renew("w", 1, 9.0)
    assert leases.expire(18.9) == []
    assert leases.expire(19.0) == ["w"]
    with pytest.raises(LeaseFenced):
        leases.renew("w", 1, 19.0)


def test_an_older_epoch_is_fenced() -> None:
    leases = Leases(10.0)
    leases.grant("w", 1, 0.0)
    leases.grant("w", 2, 0.0)
    with pytest.raises(LeaseFenced):
        leases.renew("w", 1, 1.0)
    leases.renew("w", 2, 1.0)


def test_a_revoked_or_unknown_lease_is_fenced() -> None:
    leases = Leases()
    leases.grant("w", 1, 0.0)
    assert leases.revoke("w")
    assert not leases.revoke("w")
    for worker_id in ("w", "other"):
        with pytest.raises(LeaseFenced):
            leases.renew(worker_id, 1, 1.0)


def test_a_worker_learns_at_its_renewal_that_it_is_to_drain() -> None:
    leases = Leases()
    leases.grant("w", 1, 0.0)
    leases.drain("w")
    leases.drain("unknown")
    assert leases.renew("w", 1, 1.0).drain
    assert not leases.grant("w", 2, 1.0).drain


def test_time_in_which_the_registry_stood_still_does_not_count() -> None:
    leases = Leases(10.0)
    leases.grant("w", 1, 0.0)
    leases.prolong(60.0)
    assert leases.expire(69.9) == []
    assert leases.expire(70.0) == ["w"]


WORKERS = st.sampled_from(["a", "b", "c"])


class AnyHistory(RuleBasedStateMachine):
    """Leases against the plainest model of them: who holds which epoch until when."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases(10.0)
        self.held: dict[str, tuple[int, float]] = {}
        self.epoch = 0
        self.now = 0.0

    @rule(seconds=st.floats(0, 15))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        over = {worker for worker, (_, expires) in self.held.items() if expires <= self.now}
        assert set(self.leases.expire(self.now)) == over
        self.held = {worker: lease for worker, lease in self.held.items() if worker not in over}

    @rule(worker=WORKERS)
    def registers(self, worker: str) -> None:
        self.epoch += 1
        self.leases.grant(worker, self.epoch, self.now)
        self.held[worker] = (self.epoch, self.now + 10.0)

    @rule(worker=WORKERS, age=st.integers(0, 2))
    def renews(self, worker: str, age: int) -> None:
        epoch = self.held.get(worker, (self.epoch, 0.0))[0] - age
        if worker in self.held and age == 0:
            self.leases.renew(worker, epoch, self.now)
            self.held[worker] = (epoch, self.now + 10.0)
        else:
            with pytest.raises(LeaseFenced):
                self.leases.renew(worker, epoch, self.now)

    @rule(worker=WORKERS)
    def is_revoked(self, worker: str) -> None:
        assert self.leases.revoke(worker) == (self.held.pop(worker, None) is not None)

    @invariant()
    def exactly_the_holders_are_listed(self) -> None:
        assert {worker for worker in "abc" if worker in self.leases} == set(self.held)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
