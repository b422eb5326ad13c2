"""The folder with the files of all versions, each under the SHA-256 of its content.

A file is written to a folder of its upload while its digest is taken, synced, and renamed into place only when
everything that belongs to its version is there and right. So a name in the store always holds the content that it
promises, however the process dies.

A file that no version needs is garbage, unless an upload holds it: one that is about to be published with a file that
is here already. What is decided and what is removed would be two moments; so what is about to be removed counts as gone
from the moment of the decision, in which nobody holds it, and nothing is put into place meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ...errors import ArtifactCorrupt, NotFound
from ..drafts import is_sha256
from ..limits import Limits
from ..names import quoted
from ..state import FileEntry
from .disk import CHUNK_BYTES, Room, open_file, size_of
from .garbage import Blob, garbage
from .unfinished import Leftover, Unfinished, too_many


class Blobs:
    """The folder with all files. Only one process may write to it. Methods are called from the event loop.

    Args:
        root: made with mode 0700 if it is not there.
        limits: how much it may hold.
        wall: unix seconds.
    """

    def __init__(self, root: Path, limits: Limits | None = None, wall: Callable[[], float] = time.time) -> None:
        self._blobs = root / "sha256"
        self._wall = wall
        self.uploads = root / "tmp"
        """Has a folder for each upload."""
        for folder in (root, self._blobs, self.uploads, root / "unfinished"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.room = Room(root, limits or Limits())
        """How much is here."""
        self.unfinished = Unfinished(root / "unfinished", self.room)
        """What has come of uploads that broke off."""
        self.changing = asyncio.Lock()
        """Whoever holds it may put files into place, or remove them."""
        self._held: Counter[str] = Counter()
        self._going: frozenset[str] = frozenset()
        self._rotten: set[str] = set()
        self._clear()

    def path(self, sha256: str) -> Path:
        """Where the file of that digest is, or would be."""
        return self._blobs / sha256[:2] / sha256

    async def read(self, sha256: str) -> AsyncIterator[bytes]:
        """The content of a file, in pieces of at most 1 MiB. Whoever uses it checks the digest.

        Raises:
            NotFound: there is no such file.
            ArtifactCorrupt: there is, but it cannot be read.
        """
        file = await asyncio.to_thread(self._open, sha256)
        with file:
            while chunk := await asyncio.to_thread(_read, file, sha256):
                yield chunk

    async def offsets(self, files: Collection[FileEntry]) -> list[int]:
        """How many of each file's first bytes need not be sent: all where it is in the store, else what came before."""
        return await asyncio.to_thread(lambda: [self._offset(entry) for entry in files])

    async def verify(self, entry: FileEntry) -> bool:
        """Whether a file is in the store, read in full; one that has rotted counts as gone until it is sent anew."""
        if entry.sha256 in self._going or size_of(self.path(entry.sha256)) != entry.size:
            return False
        if await asyncio.to_thread(self._digest, entry.sha256) == entry.sha256:
            self._rotten.discard(entry.sha256)
            return True
        self._rotten.add(entry.sha256)
        return False

    def hold(self, digests: Iterable[str]) -> None:
        """These are no garbage until they are released."""
        self._held.update(digests)

    def release(self, digests: Iterable[str]) -> None:
        """Undo one `hold`."""
        self._held.subtract(digests)
        self._held = +self._held

    def put_aside(self, path: Path, sha256: str) -> None:
        """Keep what has come of a file whose upload broke off; any thread may call it."""
        self.unfinished.put(path, sha256, self._wall())

    async def touch(self, digests: Iterable[str]) -> None:
        """From now on the grace time of these counts, since nothing refers to them any more."""
        now = self._wall()
        paths = [self.path(sha256) for sha256 in digests]
        await asyncio.to_thread(_touch, paths, now)

    async def blobs(self) -> list[Blob]:
        """All files of the store."""
        return await asyncio.to_thread(self._list)

    async def collect(self, needed: Callable[[], Collection[str]], grace_s: float, dry_run: bool = False) -> list[Blob]:
        """Remove what no version needs and no upload holds; what it was.

        Args:
            needed: the digests of all versions as they are when it is called, without anything in between.
            grace_s: a file must have been of no use for so many seconds.
            dry_run: only say what would be removed.
        """
        async with self.changing:
            there = await self.blobs()
            found = garbage(there, needed(), self._held, self._wall(), grace_s)
            if not dry_run:
                self._going = frozenset(blob.sha256 for blob in found)
                try:
                    await asyncio.to_thread(self._remove, found)
                finally:
                    self._going = frozenset()
        return found

    async def forget_unfinished(self, keep_s: float, dry_run: bool = False) -> list[Leftover]:
        """Remove what uploads left that did not go on within `keep_s` seconds, or too much; what it was."""
        leftovers = await asyncio.to_thread(self.unfinished.list)
        found = list(too_many(leftovers, self._wall(), keep_s, self.room.limits.max_unfinished_bytes))
        if not dry_run:
            for leftover in found:
                await asyncio.to_thread(self.unfinished.remove, leftover.sha256)
        return found

    def _clear(self) -> None:
        """What a dead process was receiving may go on; all else that it left goes."""
        for path in self.uploads.glob("*/*"):
            sha256 = path.name.partition(".")[0]
            if is_sha256(sha256) and size_of(path) > 0:
                self.put_aside(path, sha256)
        for folder in self.uploads.iterdir():
            for path in folder.rglob("*"):
                self.room.give_back(size_of(path))
            shutil.rmtree(folder, ignore_errors=True)

    def _offset(self, entry: FileEntry) -> int:
        if not is_sha256(entry.sha256):
            return 0
        here = size_of(self.path(entry.sha256)) == entry.size
        if here and entry.sha256 not in self._rotten and entry.sha256 not in self._going:
            return entry.size
        return min(self.unfinished.size(entry.sha256), entry.size)

    def _open(self, sha256: str) -> BinaryIO:
        if is_sha256(sha256):
            try:
                return open_file(self.path(sha256))
            except FileNotFoundError:
                pass
            except OSError:
                raise _unreadable(sha256) from None
        text = f"there is no file with the digest {quoted(sha256)}; a digest is 64 lower case hexadecimal digits"
        raise NotFound(text, resource=("file", ascii(sha256[:64])))

    def _digest(self, sha256: str) -> str:
        try:
            with open_file(self.path(sha256)) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except OSError:
            return ""

    def _list(self) -> list[Blob]:
        found = []
        for path in self._blobs.glob("*/*"):
            with suppress(OSError):
                status = path.lstat()
                found.append(Blob(path.name, status.st_size, status.st_mtime))
        return found

    def _remove(self, blobs: Iterable[Blob]) -> None:
        for blob in blobs:
            with suppress(FileNotFoundError):
                self.path(blob.sha256).unlink()
                self.room.give_back(blob.size)


def _read(file: BinaryIO, sha256: str) -> bytes:
    try:
        return file.read(CHUNK_BYTES)
    except OSError:
        raise _unreadable(sha256) from None


def _touch(paths: Iterable[Path], now: float) -> None:
    for path in paths:
        with suppress(OSError):
            os.utime(path, (now, now), follow_symlinks=False)


def _unreadable(sha256: str) -> ArtifactCorrupt:
    text = f"the registry's disk does not give the file {sha256[:12]}…; look at the disk, or publish the version again"
    return ArtifactCorrupt(text, metadata={"sha256": sha256})
