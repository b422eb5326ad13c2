"""What the registry asks of a place that it fetches from."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

CHUNK_BYTES = 1024 * 1024
SILENCE_S = 30.0
"""Seconds without a byte after which a transfer is given up."""


@dataclass(frozen=True, slots=True)
class Found:
    """One file: its path below the URL, and its size in bytes (None: not known before it is read)."""

    path: str
    size: int | None


class Origin(Protocol):
    """One URL."""

    async def files(self, most: int) -> list[Found]:
        """What is there; at most `most` and one more.

        Raises:
            NotFound: nothing.
            FailedPrecondition: it may not be read.
            Unavailable: it cannot be reached.
        """

    def read(self, path: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a file, in pieces of about 1 MiB. Raises as `files` does; to be closed."""
