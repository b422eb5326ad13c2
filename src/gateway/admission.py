"""How much a gateway holds at once: requests and their bytes. Decisions only."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConcurrencyLimit


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What may be in flight in one gateway process."""

    max_requests: int = 4096
    max_bytes: int = 1024 * 1024 * 1024


class Admission:
    """Counts what is in flight, and refuses what is too much."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self.requests = 0
        self.bytes = 0

    def admit(self, size: int) -> None:
        """Let a request in. Whoever calls this calls `leave`, too, unless it raises.

        Raises:
            ConcurrencyLimit: there are too many requests, or too many bytes.
        """
        limits = self._limits
        if self.requests >= limits.max_requests:
            raise ConcurrencyLimit(f"{self.requests} requests are in flight here, and {limits.max_requests} may be")
        if self.requests and self.bytes + size > limits.max_bytes:
            raise ConcurrencyLimit(f"{self.bytes} request bytes are held here, and {limits.max_bytes} may be")
        self.requests += 1
        self.bytes += size

    def is_busy(self) -> bool:
        """Half of what may be here is: what nobody waits for has no place here now."""
        limits = self._limits
        return 2 * self.requests >= limits.max_requests or 2 * self.bytes >= limits.max_bytes

    def leave(self, size: int) -> None:
        """A request of that size is done with."""
        self.requests -= 1
        self.bytes -= size
