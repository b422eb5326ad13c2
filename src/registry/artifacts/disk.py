"""What the disk is asked for: files that are files, renames that last, and how much room there is."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ...errors import StorageFull
from ..limits import Limits, check_room

CHUNK_BYTES = 1024 * 1024


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn the system's words for a full disk into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the registry's disk is full; make room there and try again") from None
        raise


def open_file(path: Path) -> BinaryIO:
    """A regular file, for reading, unbuffered; no link is followed, and a pipe is not waited for.

    Raises:
        OSError: it is not there, is no regular file, or cannot be opened.
    """
    # O_NONBLOCK means nothing to a regular file; to open a FIFO without it waits for who writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb", buffering=0)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(path: Path) -> int:
    """The bytes of a regular file; -1 if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


class Room:
    """How much the store holds and may hold. Any thread may call it.

    Args:
        folder: on the disk in question; everything in it counts.
        limits: what is allowed.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.limits = limits
        self._folder = folder
        self._used = sum(max(size_of(Path(where, name)), 0) for where, _, names in os.walk(folder) for name in names)
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """How many bytes the store holds."""
        return self._used

    def check(self, coming: int) -> None:
        """Raise StorageFull if so many bytes would not fit now."""
        check_room(coming, self._used, shutil.disk_usage(self._folder).free, self.limits)

    def add(self, size: int) -> None:
        """Count bytes that were written."""
        with self._lock:
            self._used += size

    def give_back(self, size: int) -> None:
        """Count bytes that were removed."""
        with self._lock:
            self._used -= max(size, 0)
