"""The files of all versions, on disk, each under the SHA-256 of its content.

A file is written to a temporary folder while its digest is taken, synced, and renamed into place only when everything
that belongs to its version is there and right. So a name in the store always holds the content that it promises,
however the process dies; what a dead process left in the temporary folder is removed at start.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from ..errors import ArtifactCorrupt, NotFound, StorageFull
from .drafts import is_sha256
from .names import quoted
from .state import FileEntry

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


class Artifacts:
    """The folder with all files. Only one process may write to it."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "sha256"
        self._tmp = root / "tmp"
        shutil.rmtree(self._tmp, ignore_errors=True)
        for folder in (root, self._blobs, self._tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self) -> Upload:
        """The files of one version, to be used with `async with`."""
        return Upload(self._tmp / secrets.token_hex(8), self.path)

    def path(self, sha256: str) -> Path:
        """Where the file of that digest is, or would be."""
        return self._blobs / sha256[:2] / sha256

    async def read(self, sha256: str) -> AsyncIterator[bytes]:
        """The content of a file, in pieces of at most 1 MiB. Whoever uses it checks the digest.

        Raises:
            NotFound: there is no such file.
        """
        file = await asyncio.to_thread(self._open, sha256)
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
        finally:
            file.close()

    def _open(self, sha256: str) -> BinaryIO:
        try:
            if is_sha256(sha256):
                return self.path(sha256).open("rb")
        except FileNotFoundError:
            pass
        text = f"there is no file with the digest {quoted(sha256)}; a digest is 64 lower case hexadecimal digits"
        raise NotFound(text, resource=("file", ascii(sha256[:64])))


class Upload:
    """The files of one version while they arrive, one after the other; leaving it removes what is not kept."""

    def __init__(self, folder: Path, place: Callable[[str], Path]) -> None:
        self._folder = folder
        self._place = place
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._arrived: list[tuple[Path, str]] = []

    async def __aenter__(self) -> Self:
        with storage_errors():
            await asyncio.to_thread(self._folder.mkdir, 0o700)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._remove)

    async def receive(self, entry: FileEntry, chunks: AsyncIterator[bytes]) -> None:
        """Take one file.

        Args:
            entry: what it must be.
            chunks: all of its bytes.

        Raises:
            ArtifactCorrupt: its size or digest is another; nothing of it stays.
            StorageFull: the disk is full.
        """
        path = self._folder / str(len(self._arrived))
        size = 0
        with storage_errors():
            await asyncio.to_thread(self._create, path)
            async for chunk in chunks:
                size += len(chunk)
                await asyncio.to_thread(self._write, chunk)
            await asyncio.to_thread(self._sync)
        if (size, self._hash.hexdigest()) != (entry.size, entry.sha256):
            text = f"{quoted(entry.path)} arrived with other content than its entry says ({size} of {entry.size} bytes)"
            raise ArtifactCorrupt(f"{text}; send it again", metadata={"path": quoted(entry.path)})
        self._arrived.append((path, entry.sha256))

    async def keep(self) -> None:
        """Put all that arrived into place, to stay whatever happens; files of the same content are replaced."""
        with storage_errors():
            await asyncio.to_thread(self._keep)

    def _create(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._hash = hashlib.sha256()

    def _write(self, chunk: bytes) -> None:
        assert self._file is not None
        self._hash.update(chunk)
        self._file.write(chunk)

    def _sync(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _keep(self) -> None:
        folders = set()
        for path, sha256 in self._arrived:
            target = self._place(sha256)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            path.replace(target)  # also over a file that is there: this one was just checked
            folders |= {target.parent, target.parent.parent}
        for folder in folders:
            sync_folder(folder)

    def _remove(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take is of no use any more
                self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
