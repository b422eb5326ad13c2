"""What has come of uploads that broke off: files with the first bytes of their content, named by its SHA-256.

Nobody has checked these bytes, and nobody but an upload that goes on reads them; it takes the file away, so that no two
write to one. They are kept for a bounded time, and the oldest go when they become too many.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..drafts import is_sha256
from .disk import Room, size_of


@dataclass(frozen=True, slots=True)
class Leftover:
    """One such file."""

    sha256: str
    size: int
    time: float
    """Unix time in seconds when its upload broke off."""


def too_many(leftovers: list[Leftover], now: float, keep_s: float, max_bytes: int) -> Iterator[Leftover]:
    """Those to remove: kept for longer than `keep_s` seconds, or the oldest of more than `max_bytes` bytes."""
    room = max_bytes
    for leftover in sorted(leftovers, key=lambda leftover: leftover.time, reverse=True):
        room -= leftover.size
        if now - leftover.time > keep_s or room < 0:
            yield leftover


class Unfinished:
    """The folder with them. Any thread may call it."""

    def __init__(self, folder: Path, room: Room) -> None:
        self._folder = folder
        self._room = room
        self._lock = threading.RLock()

    def size(self, sha256: str) -> int:
        """How many of the first bytes are here."""
        return max(size_of(self._folder / sha256), 0)

    def put(self, path: Path, sha256: str, now: float) -> None:
        """Keep a file, unless a longer one is here; gone from where it was in any case."""
        with self._lock:
            if size_of(path) > self.size(sha256):
                self.remove(sha256)
                path.replace(self._folder / sha256)
                os.utime(self._folder / sha256, (now, now))
            else:
                self._room.give_back(size_of(path))
                path.unlink(missing_ok=True)

    def take(self, sha256: str, target: Path) -> bool:
        """Move a file to an upload that goes on with it; False: there is none."""
        with self._lock, suppress(FileNotFoundError):
            (self._folder / sha256).rename(target)
            return True
        return False

    def list(self) -> list[Leftover]:
        """All of them."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in filter(lambda entry: is_sha256(entry.name), entries):
                with suppress(FileNotFoundError):  # an upload has gone on with it
                    status = entry.stat(follow_symlinks=False)
                    found.append(Leftover(entry.name, status.st_size, status.st_mtime))
        return found

    def remove(self, sha256: str) -> None:
        """Forget a file."""
        path = self._folder / sha256
        with self._lock, suppress(FileNotFoundError):
            size = size_of(path)
            path.unlink()
            self._room.give_back(size)
