"""Bring a version's files to this host and make sure that they are what was published."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from io import BufferedReader
from pathlib import Path, PurePosixPath

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import ArtifactCorrupt
from .registry_client import RegistryClient

_CHUNK = 1024 * 1024
Progress = Callable[[float], None]
"""Told how much is done, 0 to 1."""


async def fetch(registry: RegistryClient, manifest: model_pb2.Manifest, cache: Path, progress: Progress) -> Path:
    """Make a folder with exactly the files of a version; files that are there already and intact are not fetched again.

    Returns:
        The folder, `cache/NAME/VERSION`. Several workers may share it: files appear whole or not at all.

    Raises:
        ArtifactCorrupt: what came does not have the published size and digest.
    """
    folder = cache / manifest.name / str(manifest.version)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    total, done = sum(entry.size for entry in manifest.files) or 1, 0
    for entry in manifest.files:
        target = _inside(folder, entry.path)
        if not await asyncio.to_thread(_is_intact, target, entry):
            await _fetch_file(registry, entry, target, _part(progress, done, total))
        done += entry.size
        progress(done / total)
    return folder


def _part(progress: Progress, done: int, total: int) -> Callable[[int], None]:
    """Turns the bytes of the file at hand into a share of the whole."""
    return lambda size: progress((done + size) / total)


def _inside(folder: Path, path: str) -> Path:
    """The registry has refused such paths; a worker that unpacks files believes nobody."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ArtifactCorrupt(f"the manifest names a file outside its folder: {path!r}")
    return folder.joinpath(*parts)


def _is_intact(path: Path, entry: model_pb2.FileEntry) -> bool:
    """Whether the file is there with the right content; read in full, since disks rot."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == entry.size and _digest(file) == entry.sha256
    except OSError:
        return False


def _digest(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


async def _fetch_file(
    registry: RegistryClient, entry: model_pb2.FileEntry, target: Path, on_bytes: Callable[[int], None]
) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        digest, size = await _write(registry.fetch_file(entry.sha256), partial, on_bytes)
        if digest != entry.sha256 or size != entry.size:
            text = f"{entry.path!r} came with {size} bytes and digest {digest[:12]}…, published were {entry.size} and "
            raise ArtifactCorrupt(f"{text}{entry.sha256[:12]}…; publish the version again under a new number")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


async def _write(
    chunks: AsyncIterator[pb.FetchFileResponse], path: Path, on_bytes: Callable[[int], None]
) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for message in chunks:
            digest.update(message.chunk)
            size += len(message.chunk)
            await asyncio.to_thread(file.write, message.chunk)
            on_bytes(size)
    return digest.hexdigest(), size
