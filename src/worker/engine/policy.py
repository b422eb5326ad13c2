"""How requests are joined: what a version's publisher may choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How requests are joined."""

    max_batch_size: int = 64
    """The most rows that run together. Larger: more throughput, and a longer wait for what arrives meanwhile."""
    max_queue_delay: float = 0.0
    """Seconds that an idle device waits for more rows, from the oldest arrival. 0 is nearly always best: batches grow
    while it is busy."""
    max_queue_size: int = 1024
    """The most rows that wait. What is waiting when the queue is full takes max_queue_size / max_batch_size batches."""
    max_queue_bytes: int = 256 << 20
    """The most bytes that wait."""
