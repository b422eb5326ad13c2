"""The worker's cache on disk: private folders, entered without following links, and files that are checked once opened.

Everything below the cache's own folder is reached step by step through descriptors, so that no link anywhere on the way
can lead out of it, and a file is judged by the descriptor that stays open, not by a name that may mean another file a
moment later.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ArtifactCorrupt, StorageFull

PARTS = ".parts"
"""Where files are while they come; no model can be called so."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: to open a FIFO must not wait for who writes to it. It means nothing to a regular file.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn the system's words for a full disk into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the disk with the worker's cache is full; make room there and deploy again") from None
        raise


class Checked:
    """A file whose content was found to be right, held by the descriptor that it was read by."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._identity = _identity(os.fstat(descriptor))

    def is_at(self, folder: int, name: str) -> bool:
        """Whether the name still means this file, and nobody has written to it since it was checked."""
        try:
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        return _identity(there) == self._identity == _identity(os.fstat(self._descriptor))

    def read(self, most: int) -> bytes:
        """The first bytes, by the descriptor that was checked."""
        return os.pread(self._descriptor, most, 0)

    def close(self) -> None:
        """Let go of the file; whoever made this does so."""
        os.close(self._descriptor)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What changes when another file takes the name, or when this one is written to; only the kernel sets a ctime."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def folder_at(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """A descriptor of a folder below the cache's own, made with mode 0700 if it is not there.

    Raises:
        ArtifactCorrupt: there is a link, or a file, where a folder must be.
        StorageFull: the disk is full.
    """
    with storage_errors():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _make_private(descriptor)
            for part in parts:
                below = _enter(descriptor, part)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def _enter(folder: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            text = f"in the worker's cache {name!r} is no folder but a link or a file; remove it"
            raise ArtifactCorrupt(text) from None
        raise
    _make_private(descriptor)
    return descriptor


def _make_private(folder: int) -> None:
    status = os.fstat(folder)
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != 0o700:
        os.fchmod(folder, 0o700)


def checked(folder: int, name: str, size: int, sha256: str) -> Checked | None:
    """The file of that name if it is our own, a regular file and has this content; None if not. Reads all of it."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        try:
            if _is_ours(descriptor, size) and hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return Checked(descriptor)
        except OSError:
            pass  # it cannot be read: as good as not there
    os.close(descriptor)
    return None


def _is_ours(descriptor: int, size: int) -> bool:
    """Before a digest is taken: whoever else could write to the file could do so afterwards."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_size != size:
        return False
    if stat.S_IMODE(status.st_mode) != 0o400:
        os.fchmod(descriptor, 0o400)  # by an older release, or by hand
    return True


class Part:
    """A file while it comes, under a name of its own and locked, so that others know it from what the dead left."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._name = secrets.token_hex(8)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with storage_errors():
            self._descriptor = os.open(self._name, flags, 0o600, dir_fd=parts)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def write(self, chunk: bytes) -> None:
        """Append. Raises StorageFull."""
        with storage_errors():
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def digest(self) -> str:
        """Of what the disk holds now, not of what was to be written."""
        with os.fdopen(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()

    def move(self, folder: int, name: str) -> Checked:
        """Put it into its place, read-only, once its digest was found to be right; what was there is replaced."""
        os.fchmod(self._descriptor, 0o400)
        os.rename(self._name, name, src_dir_fd=self._parts, dst_dir_fd=folder)
        return Checked(os.dup(self._descriptor))

    def close(self) -> None:
        """Remove it if it was not moved."""
        with suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._parts)
        os.close(self._descriptor)


def remove_abandoned(parts: int) -> None:
    """Remove what dead workers left: files that nobody holds locked."""
    for name in os.listdir(parts):
        try:
            descriptor = os.open(name, _READ, dir_fd=parts)
        except OSError:
            continue  # gone meanwhile
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=parts)
        except OSError:
            pass  # somebody writes to it, or it is gone
        finally:
            os.close(descriptor)


def remove_others(folder: int, wanted: Collection[str]) -> list[str]:
    """Remove what does not belong to a version, compiled Python included; what it was, except for that.

    A module beside the model would be imported by it, and a compiled one instead of it.
    """
    split = [path.split("/") for path in wanted]
    parents = {"/".join(parts[:length]) for parts in split for length in range(len(parts))}
    strange = []
    for where, folders, files, descriptor in os.fwalk(".", topdown=False, dir_fd=folder):
        prefix = "" if where == "." else where.removeprefix("./") + "/"
        for name in (*files, *folders):
            path = prefix + name
            if path in wanted or path in parents:
                continue
            if "__pycache__" not in path.split("/"):
                strange.append(path)
            with suppress(FileNotFoundError):
                _remove(name, descriptor)
    return strange


def _remove(name: str, folder: int) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        with suppress(OSError):  # another worker of this version compiles into it again
            os.rmdir(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)
