"""How busy a worker is, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a worker is."""

    free_s: float
    """Until the device is free of all that was handed to it; 0: it is."""
    one_s: float
    """What a batch of one row takes; 0: not known yet."""
    full_s: float
    """What a full batch takes; 0: not known yet."""
    waiting_rows: int
    """Rows that wait."""


@dataclass(slots=True)
class Counters:
    """Since the worker began. Written by the event loop only."""

    rows: int = 0
    """Answered."""
    batches: int = 0
    """Handed over."""
    failures: int = 0
    """Jobs that were refused, were too late, or failed."""
    closed_ahead: int = 0
    """How many of them while another one was running."""
    elements: int = 0
    """Of inputs whose requests are filled up to one length."""
    padded: int = 0
    """How many of them were filled in."""

    @property
    def padded_share(self) -> float:
        """The share of work that was filled in."""
        return self.padded / self.elements if self.elements else 0.0
