"""Which versions' files are in use on this host, so that nobody removes them, and the removal of the others.

A worker holds the folder of its version locked (shared) as long as it lives; the kernel lets go when it dies, however
it does. Who removes takes the lock alone first. A worker that waited for it finds that the name means another folder,
or none, and begins anew.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import PenstockError
from .cache import folder_at
from .retention import Cached, given_up

log = logging.getLogger("penstock.worker")


class Hold:
    """Keeps a version's folder from being removed until it is closed. Made in a thread: it may wait for a removal."""

    def __init__(self, cache: Path, name: str, version: str) -> None:
        while True:
            try:
                self._descriptor = _locked(cache, name, version)
            except FileNotFoundError:  # removed as soon as it was made
                continue
            if _is_at(cache / name / version, self._descriptor):
                break
            os.close(self._descriptor)
        os.utime(self._descriptor)

    def close(self) -> None:
        """Let go. Once."""
        os.close(self._descriptor)


def _locked(cache: Path, name: str, version: str) -> int:
    with folder_at(cache, (name, version)) as folder:
        descriptor = os.dup(folder)
    with suppress(OSError):  # a file system without locks; there nothing is removed either
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def remove_unused(cache: Path, keep_s: float, most_bytes: int) -> list[Cached]:
    """Remove what is not held and was not used for long, or is too much; what it was. To be run in a thread."""
    removed = [one for one in given_up(_cached(cache), time.time(), keep_s, most_bytes) if _remove(cache, one)]
    if removed:
        text = "removed %d versions of %d bytes from the cache that no worker of this host holds"
        log.info(text, len(removed), sum(one.size for one in removed))
    return removed


def _cached(cache: Path) -> Iterator[Cached]:
    """Names that begin with a dot are not those of models. What is made of a version lies beside it: `7.unpacked`."""
    for version in cache.glob("[!.]*/*"):
        with suppress(OSError):
            status = version.lstat()
            if version.name.isdecimal() and stat.S_ISDIR(status.st_mode):
                size = sum(map(_size, (version, *version.parent.glob(f"{version.name}.*"))))
                yield Cached(version.parent.name, version.name, size, status.st_mtime)


def _size(folder: Path) -> int:
    size = 0
    for _, _, names, descriptor in os.fwalk(folder):
        for name in names:
            with suppress(OSError):
                size += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
    return size


def _remove(cache: Path, one: Cached) -> bool:
    """Whether it was there, and nobody held it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with folder_at(cache, (one.name,)) as above:
            folder = os.open(one.version, flags, dir_fd=above)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for name in (one.version, *_beside(above, one.version)):
                    shutil.rmtree(name, dir_fd=above)
                return True
            finally:
                os.close(folder)
    except (OSError, PenstockError):
        return False  # held, gone meanwhile, or behind a link


def _beside(folder: int, version: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(f"{version}.")]
