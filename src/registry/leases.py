"""Who holds a lease, and until when: epochs fence off those that lost theirs. Decisions only."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import LeaseFenced

TTL_S = 10.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to be listed."""

    worker_id: str
    epoch: int
    expires: float
    """Monotonic seconds."""
    drain: bool = False
    """The worker is to drain and end."""


class Leases:
    """All leases. `now` is in monotonic seconds everywhere and never goes back.

    A lease ends only in `expire`: a renewal that comes late but before that is good, since nobody was told otherwise.
    """

    def __init__(self, ttl_s: float = TTL_S) -> None:
        self.ttl_s = ttl_s
        self._leases: dict[str, Lease] = {}

    def __contains__(self, worker_id: str) -> bool:
        return worker_id in self._leases

    def grant(self, worker_id: str, epoch: int, now: float, *, drain: bool = False) -> Lease:
        """A new lease; it replaces that of an earlier epoch."""
        return self._put(Lease(worker_id, epoch, now + self.ttl_s, drain))

    def renew(self, worker_id: str, epoch: int, now: float) -> Lease:
        """The same lease with a whole TTL ahead.

        Raises:
            LeaseFenced: it is over, or a newer one exists; the worker registers anew.
        """
        return self._put(replace(self._current(worker_id, epoch), expires=now + self.ttl_s))

    def drain(self, worker_id: str) -> None:
        """Let the next renewals tell the worker to drain; unknown ones are left alone."""
        if worker_id in self._leases:
            self._put(replace(self._leases[worker_id], drain=True))

    def revoke(self, worker_id: str) -> bool:
        """End a lease; False if there was none."""
        return self._leases.pop(worker_id, None) is not None

    def expire(self, now: float) -> list[str]:
        """End all leases whose time is over; whose they were."""
        over = [lease.worker_id for lease in self._leases.values() if lease.expires <= now]
        for worker_id in over:
            del self._leases[worker_id]
        return over

    def prolong(self, seconds: float) -> None:
        """Give all leases the time in which the registry itself stood still and could not be reached."""
        for lease in list(self._leases.values()):
            self._put(replace(lease, expires=lease.expires + seconds))

    def _put(self, lease: Lease) -> Lease:
        self._leases[lease.worker_id] = lease
        return lease

    def _current(self, worker_id: str, epoch: int) -> Lease:
        lease = self._leases.get(worker_id)
        if lease is None:
            raise LeaseFenced(f"the worker {worker_id!r} has no lease; register anew", metadata={"worker": worker_id})
        if lease.epoch != epoch:
            text = f"the lease of {worker_id!r} has epoch {lease.epoch}, not {epoch}; register anew"
            raise LeaseFenced(text, metadata={"worker": worker_id, "epoch": str(lease.epoch)})
        return lease
