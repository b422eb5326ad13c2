"""Where an archive is unpacked to: a folder of this process alone, since handlers may write to theirs.

A process that is killed leaves its folder behind; the next one that unpacks the same version removes it. Whose process
lives is told by a lock on the folder, which no process can leave behind.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ....extraction import extract


def unpack(folder: Path, entry: str) -> Path:
    """Unpack a version's archive beside the version's folder.

    Returns:
        A new folder, which is removed when this process ends.

    Raises:
        ArchiveRefused: it cannot be read, or holds what is not allowed.
    """
    home = folder.with_name(f"{folder.name}.unpacked")
    home.mkdir(mode=0o700, exist_ok=True)
    with _alone(home):
        for other in home.iterdir():
            if other.is_dir() and _lock(other) is not None:
                shutil.rmtree(other, ignore_errors=True)
        mine = Path(tempfile.mkdtemp(dir=home))
        _lock(mine)
    atexit.register(shutil.rmtree, mine, ignore_errors=True)
    extract(folder / entry, mine / "model")
    return mine / "model"


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One process at a time, or a folder that is not locked yet would be taken for one left behind."""
    with (home / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(folder: Path) -> int | None:
    """Held until this process ends; None if another one holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
