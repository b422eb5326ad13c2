"""The files of one version while they arrive: written beside the store, and put into it when all of them are right."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from io import FileIO
from pathlib import Path
from typing import Self, TypeVarTuple

from ...errors import ArtifactCorrupt, Conflict, InvalidArgument
from ..names import quoted
from ..state import FileEntry
from ..turns import to_the_end
from .blobs import Blobs
from .disk import CHUNK_BYTES, open_file, size_of, storage_errors, sync_folder

Ts = TypeVarTuple("Ts")


class Upload:
    """Takes the files one after the other; leaving it removes what is not kept.

    From its beginning to its end nothing that it names is collected as garbage. What has arrived is put aside for a
    while when the caller is gone, or has to ask again: it may go on then.
    """

    def __init__(self, store: Blobs, files: Iterable[FileEntry]) -> None:
        self._store = store
        self._folder = store.uploads / secrets.token_hex(8)
        self._held = {entry.sha256 for entry in files}
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()
        self._begun: dict[Path, str] = {}
        self._ended_early = False
        self._arrived: dict[str, Path] = {}

    async def __aenter__(self) -> Self:
        self._store.hold(self._held)
        try:
            with storage_errors():
                await asyncio.to_thread(self._folder.mkdir, 0o700)
        except BaseException:
            self._store.release(self._held)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        broke_off = kind is not None and issubclass(kind, (asyncio.CancelledError, Conflict))
        try:
            # A second cancellation would forget what has not begun, and with it what has arrived.
            await to_the_end(asyncio.to_thread(self._leave, broke_off or self._ended_early))
        finally:
            self._store.release(self._held)

    def ended_early(self) -> None:
        """The bytes end before the file does. grpc.aio often says only so when a caller is gone."""
        self._ended_early = True

    async def receive(self, entry: FileEntry, chunks: AsyncIterator[bytes], offset: int = 0) -> None:
        """Take one file.

        Args:
            entry: what it must be.
            chunks: its bytes from `offset` on.
            offset: how many of its first bytes are here already, from an upload that broke off.

        Raises:
            ArtifactCorrupt: its size or digest is another; nothing of it stays.
            Conflict: the first bytes are not here any more.
            StorageFull: the disk is full, or a limit is reached.
        """
        self._hold(entry.sha256)
        path = self._folder / f"{entry.sha256}.{len(self._begun)}"
        with storage_errors():
            if offset:
                await self._go_on(path, entry, offset)
            else:
                await _finished(self._create, path)
            self._begun[path] = entry.sha256
            size = offset + await self._append_all(chunks)
        if (size, self._hash.hexdigest()) != (entry.size, entry.sha256):
            await asyncio.to_thread(self._discard, path)
            text = f"{quoted(entry.path)} arrived with other content than its entry says ({size} of {entry.size} bytes)"
            raise ArtifactCorrupt(f"{text}; send it again", metadata={"path": quoted(entry.path)})
        self._arrived[entry.sha256] = path

    async def download(self, name: str, chunks: AsyncIterator[bytes], most: int) -> FileEntry:
        """Take one file of which nobody has said what it must be.

        Args:
            name: its path in the version.
            chunks: its bytes; closed at the end.
            most: how many there may be.

        Raises:
            InvalidArgument: there are more; nothing of it stays.
            StorageFull: the disk is full, or a limit is reached.
        """
        path = self._folder / f"download.{len(self._begun)}"  # it cannot go on if it breaks off
        with storage_errors():
            await _finished(self._create, path)
            self._begun[path] = ""
            size = await self._append_all(_bounded(name, chunks, most))
        sha256 = self._hash.hexdigest()
        self._hold(sha256)
        self._arrived[sha256] = path
        return FileEntry(name, size, sha256)

    async def reuse(self, entry: FileEntry) -> None:
        """Take a file that is here already: in the store, earlier in this upload, or whole from one that broke off.

        Raises:
            Conflict: it is not, or not any more, or what is there has rotted.
        """
        self._hold(entry.sha256)
        if entry.sha256 in self._arrived or await self._store.verify(entry):
            return
        if await asyncio.to_thread(self._store.unfinished.size, entry.sha256) != entry.size:
            raise _not_here(entry)
        try:
            await self.receive(entry, _nothing(), entry.size)
        except ArtifactCorrupt:
            raise _not_here(entry) from None

    async def keep(self) -> None:
        """Put all that arrived into place, to stay whatever happens; files of the same content are replaced."""
        with storage_errors():
            async with self._store.changing:
                await asyncio.to_thread(self._keep)

    async def content(self, sha256: str) -> bytes:
        """A small file that has arrived, or is in the store, read in full.

        Raises:
            ArtifactCorrupt: it cannot be read, or is not small.
        """
        path = self._arrived.get(sha256) or self._store.path(sha256)
        try:
            with await asyncio.to_thread(open_file, path) as file:
                content = await asyncio.to_thread(file.read, CHUNK_BYTES)
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != sha256:
            text = f"the file {sha256[:12]}… cannot be read, or has more than {CHUNK_BYTES} bytes; send it again"
            raise ArtifactCorrupt(text, metadata={"sha256": sha256})
        return content

    async def _append_all(self, chunks: AsyncIterator[bytes]) -> int:
        """To the file that was begun; how many bytes there were, which the disk then has."""
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            await _finished(self._write, chunk)
        await _finished(self._sync)
        return size

    def _hold(self, sha256: str) -> None:
        if sha256 not in self._held:
            self._store.hold({sha256})
            self._held.add(sha256)

    async def _go_on(self, path: Path, entry: FileEntry, offset: int) -> None:
        """Take over what is here, and read it: the digest is that of all bytes."""
        if not await asyncio.to_thread(self._store.unfinished.take, entry.sha256, path):
            raise _not_here(entry)
        self._begun[path] = entry.sha256
        if size_of(path) < offset:
            raise _not_here(entry)
        self._hash = hashlib.sha256()
        with open_file(path) as there:
            left = offset
            while left > 0 and (chunk := await asyncio.to_thread(there.read, min(CHUNK_BYTES, left))):
                left -= len(chunk)
                await asyncio.to_thread(self._hash.update, chunk)
        await _finished(self._append, path, offset)

    def _create(self, path: Path) -> None:
        self._file = FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w")
        self._hash = hashlib.sha256()

    def _append(self, path: Path, offset: int) -> None:
        self._file = FileIO(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "w")
        self._store.room.give_back(size_of(path) - offset)
        self._file.truncate(offset)
        self._file.seek(offset)

    def _write(self, chunk: bytes) -> None:
        assert self._file is not None
        self._store.room.check(len(chunk))
        self._hash.update(chunk)
        view = memoryview(chunk)
        while view:
            written = self._file.write(view)
            self._store.room.add(written)
            view = view[written:]

    def _sync(self) -> None:
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()

    def _keep(self) -> None:
        folders = set()
        for sha256, path in self._arrived.items():
            target = self._store.path(sha256)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            self._store.room.give_back(size_of(target))
            path.replace(target)  # also over a file that is there: this one was just checked
            folders |= {target.parent, target.parent.parent}
        for folder in folders:
            sync_folder(folder)

    def _discard(self, path: Path) -> None:
        self._store.room.give_back(size_of(path))
        path.unlink(missing_ok=True)

    def _leave(self, broke_off: bool) -> None:
        if self._file is not None:
            self._file.close()
        for path, sha256 in self._begun.items():
            if broke_off and sha256:
                self._store.put_aside(path, sha256)
            else:
                self._discard(path)
        shutil.rmtree(self._folder, ignore_errors=True)


async def _finished(work: Callable[[*Ts], None], *args: *Ts) -> None:
    """In a thread, and waited for even by who is cancelled: else a file is closed that is still being written to."""
    await to_the_end(asyncio.to_thread(work, *args))


async def _bounded(name: str, chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise InvalidArgument(f"{quoted(name)} has more than {most} bytes (settings max_file_bytes, …)")
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    none: tuple[bytes, ...] = ()
    for chunk in none:
        yield chunk


def _not_here(entry: FileEntry) -> Conflict:
    text = f"{quoted(entry.path)} is not here any more as far as was said; ask PrepareUpload again"
    return Conflict(text, metadata={"path": quoted(entry.path)})
