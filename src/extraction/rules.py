"""Which members an archive may have: their names, their number, their sizes. Decisions only."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from ..errors import ArchiveRefused

_MOST_NAME = 255
_MOST_PATH = 1024
_MOST_DEPTH = 32

Path = tuple[str, ...]
"""The parts of a path inside the folder; empty for the folder itself."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold."""

    members: int = 10_000
    """Files and folders."""
    bytes: int = 256 * 1024**3
    """Of all files together."""
    free: int = 256 * 1024**2
    """Bytes that any archive may hold, however small it is."""
    ratio: int = 100
    """Above that: how many times its own size. Weights hardly shrink; a bomb swells a thousandfold."""

    def most(self, size: int) -> int:
        """Bytes that an archive of `size` bytes may hold."""
        return min(self.bytes, max(self.free, self.ratio * size))


class Judge:
    """Of one archive's members, in their order.

    Args:
        limits: how much there may be.
        size: the archive's own, in bytes.
    """

    def __init__(self, limits: Limits, size: int) -> None:
        self._limits, self._most = limits, limits.most(size)
        self._members = self._bytes = 0
        self._known: dict[Path, tuple[Path, bool]] = {}
        """By what a path is where case does not matter: the path, and whether it is a folder."""

    def allow(self, name: str, size: int, *, folder: bool) -> Path:
        """Count a member in.

        Raises:
            ArchiveRefused: its name is not allowed or taken, or it is too much.
        """
        self._members += 1
        self._bytes += size
        if self._members > self._limits.members:
            raise ArchiveRefused(f"it has more than {self._limits.members} members")
        if size < 0 or self._bytes > self._most:
            raise ArchiveRefused(f"its files have more than the {self._most} bytes that it may unpack to")
        path = parts(name)
        if not path and not folder:
            raise ArchiveRefused(f"member {shown(name)} has no name")
        for depth in range(1, len(path)):
            self._take(name, path[:depth], folder=True)
        if path:
            self._take(name, path, folder=folder)
        return path

    def _take(self, name: str, path: Path, *, folder: bool) -> None:
        """Folders may be named again; everything else is in a place of its own, wherever it is unpacked."""
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in path)
        if key not in self._known:
            self._known[key] = (path, folder)
        elif self._known[key] != (path, True) or not folder:
            other = shown("/".join(self._known[key][0]))
            raise ArchiveRefused(f"members {shown(name)} and {other} would be in one place, at least on some systems")


def parts(name: str) -> Path:
    """What a member's name means.

    Raises:
        ArchiveRefused: it leads out of the folder, or nobody should have such a file.
    """
    problem = _problem(name)
    if problem:
        raise ArchiveRefused(f"member {shown(name)} {problem}")
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _problem(name: str) -> str:
    steps = name.split("/")
    if name.startswith("/") or name[1:2] == ":":
        return "has an absolute path"
    if ".." in steps:
        return "leaves the folder"
    if not name.isprintable() or "\\" in name:  # also what is not UTF-8
        return "has characters in its name that are not allowed"
    if len(name) > _MOST_PATH or len(steps) > _MOST_DEPTH or any(len(step.encode()) > _MOST_NAME for step in steps):
        return "has too long a name"
    return ""


def shown(name: str) -> str:
    """A name as messages may hold it."""
    return ascii(name[:64])
