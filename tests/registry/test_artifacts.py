from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.errors import ArtifactCorrupt, NotFound, StorageFull
from penstock.registry.artifacts import CHUNK_BYTES, Artifacts, storage_errors
from penstock.registry.state import FileEntry

from .conftest import entry


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def folders_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_dir()]


async def receive(artifacts: Artifacts, *files: tuple[FileEntry, bytes]) -> None:
    async with artifacts.begin() as upload:
        for claim, content in files:
            await upload.receive(claim, pieces(content))


async def store(artifacts: Artifacts, *contents: bytes) -> None:
    async with artifacts.begin() as upload:
        for content in contents:
            await upload.receive(entry(content), pieces(content[:3], content[3:]))
        await upload.keep()


async def read(artifacts: Artifacts, content: bytes) -> list[bytes]:
    return [chunk async for chunk in artifacts.read(entry(content).sha256)]


async def test_what_is_kept_is_read_back_in_chunks(artifacts: Artifacts) -> None:
    content = os.urandom(2 * CHUNK_BYTES + 5)
    await store(artifacts, content, b"")
    chunks = await read(artifacts, content)
    assert b"".join(chunks) == content
    assert [len(chunk) for chunk in chunks] == [CHUNK_BYTES, CHUNK_BYTES, 5]
    assert await read(artifacts, b"") == []


async def test_only_the_owner_may_read(artifacts: Artifacts, tmp_path: Path) -> None:
    await store(artifacts, b"weights")
    path = artifacts.path(entry(b"weights").sha256)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in folders_in(tmp_path)} == {0o700}


async def test_storing_the_same_twice_is_storing_it_once_and_mends_bit_rot(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    await store(artifacts, b"weights")
    artifacts.path(entry(b"weights").sha256).write_bytes(b"weighty")
    await store(artifacts, b"weights", b"weights")
    assert await read(artifacts, b"weights") == [b"weights"]
    assert len(files_in(tmp_path)) == 1


@pytest.mark.parametrize("content", [b"weighty", b"weigh", b"weights and more"])
async def test_other_content_is_refused_and_nothing_stays(artifacts: Artifacts, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArtifactCorrupt):
        await receive(artifacts, (entry(b"first"), b"first"), (entry(b"weights"), content))
    assert files_in(tmp_path) == []


async def test_what_is_not_kept_does_not_stay(artifacts: Artifacts, tmp_path: Path) -> None:
    await receive(artifacts, (entry(b"weights"), b"weights"))
    assert files_in(tmp_path) == []


async def test_leftovers_of_a_dead_process_are_removed_at_start(artifacts: Artifacts, tmp_path: Path) -> None:
    await store(artifacts, b"weights")
    left = tmp_path / "artifacts" / "tmp" / "dead" / "0"
    left.parent.mkdir()
    left.write_bytes(b"half of it")
    again = Artifacts(tmp_path / "artifacts")
    assert not left.parent.exists()
    assert await read(again, b"weights") == [b"weights"]


@pytest.mark.parametrize("digest", ["", "../../registry.db", "ab" * 32, "AB" * 32, hashlib.md5(b"").hexdigest()])
async def test_an_unknown_digest_is_not_found(artifacts: Artifacts, digest: str) -> None:
    with pytest.raises(NotFound):
        async for _ in artifacts.read(digest):
            pass


def test_a_full_disk_has_its_own_error_and_others_pass() -> None:
    with pytest.raises(StorageFull), storage_errors():
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), storage_errors():
        raise PermissionError(errno.EACCES, "Permission denied")


async def test_a_huge_claim_is_no_reservation(artifacts: Artifacts) -> None:
    claim = FileEntry("model.pt2", 2**40, "ab" * 32)
    with pytest.raises(ArtifactCorrupt):
        await receive(artifacts, (claim, b"x"))
