"""Compiled packages on this host's disk, each a folder under a key that says everything that went into it.

Several workers share it. A package appears whole or not at all; the one that makes it holds a lock meanwhile, and the
others wait for it instead of making it, too. What was not used for longest goes when there is too much. A package that
is no longer what was made is made again: its code would run in this process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .eviction import Kept, evicted

FOLDER = ".compiled"
"""Beside the folders of models in the worker's cache; no model can be called so."""
MOST_BYTES = 8 * 1024**3
_SUMS = "sums.json"
_MAKING = ".making"


class CompiledCache:
    """The packages below a folder. Its methods block, and belong on another thread than the event loop's.

    Args:
        folder: need not exist.
        most_bytes: of all packages together; one alone may have more.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes

    def get(self, key: str, make: Callable[[Path], None]) -> Path:
        """The folder of a package.

        Args:
            key: lower case hexadecimal digits.
            make: fills a new folder with it; called if there is none, by one worker at a time.

        Raises:
            Exception: what `make` raises; then nothing is kept.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._folder / key
        with self._locked(key):
            if not _is_intact(place):
                self._make(place, make)
            os.utime(place)
        self._trim(key)
        return place

    def _make(self, place: Path, make: Callable[[Path], None]) -> None:
        making = place.with_suffix(_MAKING)
        for left in (making, place):  # by one that died, or by a disk that rots
            shutil.rmtree(left, ignore_errors=True)
        making.mkdir(mode=0o700)
        try:
            make(making)
            sums = {str(path.relative_to(making)): _digest(path) for path in _files(making)}
            (making / _SUMS).write_text(json.dumps(sums))
            making.replace(place)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """One of 256 locks: files that are locked cannot be removed without a race, so there are not more of them."""
        with (self._folder / f"{key[:2]}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _trim(self, needed: str) -> None:
        """A package in use may go: what is loaded keeps its pages."""
        for making in self._folder.glob(f"*{_MAKING}"):
            self._remove_if_abandoned(making)
        places = [place for place in self._folder.iterdir() if place.is_dir() and place.suffix != _MAKING]
        for key in evicted(list(map(_kept, places)), self._most_bytes, needed):
            with self._locked(key):
                shutil.rmtree(self._folder / key, ignore_errors=True)

    def _remove_if_abandoned(self, making: Path) -> None:
        """Who makes it holds its lock, and a process that died holds none."""
        with (self._folder / f"{making.name[:2]}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            shutil.rmtree(making, ignore_errors=True)


def _is_intact(place: Path) -> bool:
    """Whether all files are there as they were made; read in full, since disks rot."""
    try:
        sums = json.loads((place / _SUMS).read_text())
        found = {str(path.relative_to(place)) for path in _files(place)} - {_SUMS}
        return found == set(sums) and all(_digest(place / path) == digest for path, digest in sums.items())
    except (OSError, ValueError):
        return False


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(place: Path) -> Kept:
    try:
        return Kept(place.name, sum(path.stat().st_size for path in _files(place)), place.stat().st_mtime)
    except OSError:
        return Kept(place.name, 0, 0.0)  # gone meanwhile
