"""How much a gateway holds at once: requests and their bytes. Decisions only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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

    @contextmanager
    def permit(self, size: int) -> Iterator[None]:
        """The right to be in flight, for the time of the `with` block.

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
        try:
            yield
        finally:
            self.requests -= 1
            self.bytes -= size
