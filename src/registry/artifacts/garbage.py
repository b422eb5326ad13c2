"""Which files of the store are garbage. Decisions only."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Blob:
    """One file of the store."""

    sha256: str
    size: int
    time: float
    """Unix time in seconds since when it may be of no use: when it was written, or when a version of it was deleted."""


def garbage(
    blobs: Iterable[Blob], needed: Collection[str], held: Collection[str], now: float, grace_s: float
) -> list[Blob]:
    """Those that no version needs, no upload holds, and that have been of no use for `grace_s` seconds."""
    keep = {*needed, *held}
    return [blob for blob in blobs if blob.sha256 not in keep and now - blob.time >= grace_s]
