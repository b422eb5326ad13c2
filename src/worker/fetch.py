"""Bring a version's files to this host and make sure that they are what was published, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Self

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import ArtifactCorrupt
from .cache import PARTS, Checked, Part, checked, folder_at, remove_abandoned, remove_others
from .registry_client import RegistryClient

Progress = Callable[[float], None]
"""Told how much is done, 0 to 1."""

log = logging.getLogger("penstock.worker")


class Fetched:
    """A version's files on this host, each checked and held open; to be used in a `with` block around the load.

    Loaders take paths, and between the check and the load somebody could change what a path means. So `check` compares
    after the load, and a model made of anything else is not used.
    """

    def __init__(self, cache: Path, parts: tuple[str, ...]) -> None:
        self.folder = cache.joinpath(*parts)
        """Has exactly the files of the version, each 0400, in folders 0700; other workers may share it."""
        self._cache, self._parts = cache, parts
        self._files: dict[str, Checked] = {}

    def add(self, path: str, file: Checked) -> None:
        """A file that was found to be right."""
        self._files[path] = file

    def content(self, path: str, most: int) -> bytes | None:
        """At most so many of a file's first bytes, as they were checked; None: there is no such file."""
        file = self._files.get(path)
        return None if file is None else file.read(most)

    def check(self) -> None:
        """Make sure that the files are still those that were checked.

        Raises:
            ArtifactCorrupt: one of them is not.
        """
        for path, file in self._files.items():
            with _place(self._cache, self._parts, path) as (folder, name):
                if not file.is_at(folder, name):
                    raise ArtifactCorrupt(f"{path!r} was changed on this host while it was loaded")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            self._files.popitem()[1].close()


async def fetch(registry: RegistryClient, manifest: model_pb2.Manifest, cache: Path, progress: Progress) -> Fetched:
    """Make the folder `cache/NAME/VERSION`; files that are there already and intact are not fetched again.

    Several workers may do so at once: files appear whole or not at all.

    Raises:
        ArtifactCorrupt: what came does not have the published size and digest, twice; or a link is in the way.
        StorageFull: the disk is full. No part of a file stays.
    """
    with ExitStack() as stack:
        fetched = stack.enter_context(Fetched(cache, (manifest.name, str(manifest.version))))
        total, done = sum(entry.size for entry in manifest.files) or 1, 0
        for entry in manifest.files:
            file = await _file(registry, entry, fetched, cache, _part(progress, done, total))
            fetched.add(entry.path, file)
            done += entry.size
            progress(done / total)
        await asyncio.to_thread(_clean, cache, manifest)
        stack.pop_all()
    return fetched


def _part(progress: Progress, done: int, total: int) -> Callable[[int], None]:
    """Turns the bytes of the file at hand into a share of the whole."""
    return lambda size: progress((done + size) / total)


def _inside(path: str) -> tuple[str, ...]:
    """The registry has refused such paths; a worker that unpacks files believes nobody."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ArtifactCorrupt(f"the manifest names a file outside its folder: {path!r}")
    return parts


@contextmanager
def _place(cache: Path, parts: tuple[str, ...], path: str) -> Iterator[tuple[int, str]]:
    """The folder in which a file of the version is, or will be, and its name there."""
    *above, name = _inside(path)
    with folder_at(cache, (*parts, *above)) as folder:
        yield folder, name


async def _file(
    registry: RegistryClient, entry: model_pb2.FileEntry, fetched: Fetched, cache: Path, on_bytes: Callable[[int], None]
) -> Checked:
    parts = fetched.folder.relative_to(cache).parts
    with _place(cache, parts, entry.path) as (folder, name):
        there = await asyncio.to_thread(checked, folder, name, entry.size, entry.sha256)
        if there is not None:
            return there
        try:
            return await _fetched(registry, entry, cache, folder, name, on_bytes)
        except ArtifactCorrupt as error:
            log.warning("%s; once more", error.message)
            return await _fetched(registry, entry, cache, folder, name, on_bytes)


async def _fetched(
    registry: RegistryClient,
    entry: model_pb2.FileEntry,
    cache: Path,
    folder: int,
    name: str,
    on_bytes: Callable[[int], None],
) -> Checked:
    with folder_at(cache, (PARTS,)) as parts:
        await asyncio.to_thread(remove_abandoned, parts)
        part = Part(parts)
        try:
            size = await _write(registry.fetch_file(entry.sha256), part, entry.size, on_bytes)
            digest = await asyncio.to_thread(part.digest)
            if digest != entry.sha256 or size != entry.size:
                raise _mismatch(entry, digest, size)
            return part.move(folder, name)
        finally:
            part.close()


def _mismatch(entry: model_pb2.FileEntry, digest: str, size: int) -> ArtifactCorrupt:
    text = f"{entry.path!r} came with {size} bytes and digest {digest[:12]}…, published were {entry.size} and "
    return ArtifactCorrupt(f"{text}{entry.sha256[:12]}…; publish the version again under a new number")


async def _write(
    chunks: AsyncIterator[pb.FetchFileResponse], part: Part, most: int, on_bytes: Callable[[int], None]
) -> int:
    """Stops at the first chunk that goes beyond `most` bytes: what is wrong need not fill the disk."""
    size = 0
    async for message in chunks:
        size += len(message.chunk)
        if size > most:
            break
        await asyncio.to_thread(part.write, message.chunk)
        on_bytes(size)
    return size


def _clean(cache: Path, manifest: model_pb2.Manifest) -> None:
    wanted = {"/".join(_inside(entry.path)) for entry in manifest.files}
    with folder_at(cache, (manifest.name, str(manifest.version))) as folder:
        for path in remove_others(folder, wanted):
            log.warning("removed %r from the cache of %s: it was not published", path, manifest.name)
