"""Uploads that break off and go on, and content that is there already."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock import errors
from penstock.registry.artifacts import Artifacts
from penstock.registry.artifacts.unfinished import Leftover, too_many
from penstock.registry.limits import Limits
from penstock.registry.state import FileEntry
from penstock.v1 import artifacts_pb2, model_pb2
from penstock.v1 import registry_pb2 as pb

from .conftest import Clock, entry
from .test_artifacts import files_in, pieces, read, store
from .wire import Stub, ask, header, publish, send

CONTENT = bytes(range(256)) * 8192
"""2 MiB."""
CLAIM = entry(CONTENT)


async def broken(artifacts: Artifacts, content: bytes, size: int) -> None:
    """Receive the first bytes of a file from a caller who then goes."""

    async def chunks() -> AsyncIterator[bytes]:
        yield content[:size]
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        async with artifacts.begin() as upload:
            await upload.receive(entry(content), chunks())


async def go_on(artifacts: Artifacts, claim: FileEntry, rest: bytes, offset: int) -> None:
    async with artifacts.begin([claim]) as upload:
        await upload.receive(claim, pieces(rest), offset)
        await upload.keep()


async def test_an_upload_that_broke_off_goes_on_where_it_stopped(artifacts: Artifacts, tmp_path: Path) -> None:
    await broken(artifacts, CONTENT, 1_000_000)
    assert await artifacts.offsets([CLAIM, entry(b"other")]) == [1_000_000, 0]
    await go_on(artifacts, CLAIM, CONTENT[1_000_000:], 1_000_000)
    assert b"".join(await read(artifacts, CONTENT)) == CONTENT
    assert len(files_in(tmp_path)) == 1
    assert artifacts.room.used == len(CONTENT)


async def test_it_may_go_on_from_fewer_bytes_than_are_there(artifacts: Artifacts) -> None:
    await broken(artifacts, CONTENT, 1_000_000)
    await go_on(artifacts, CLAIM, CONTENT[10:], 10)
    assert b"".join(await read(artifacts, CONTENT)) == CONTENT
    assert artifacts.room.used == len(CONTENT)


async def test_it_goes_on_after_the_registry_was_killed(artifacts: Artifacts, tmp_path: Path) -> None:
    async with artifacts.begin() as upload:
        reached, hold = asyncio.Event(), asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            yield CONTENT[:500_000]
            reached.set()
            await hold.wait()

        task = asyncio.create_task(upload.receive(CLAIM, chunks()))
        await reached.wait()
        again = Artifacts(tmp_path / "artifacts")  # as the next process sees it
        assert await again.offsets([CLAIM]) == [500_000]
        assert again.room.used == 500_000
        hold.set()
        with pytest.raises(errors.ArtifactCorrupt):
            await task
    await go_on(again, CLAIM, CONTENT[500_000:], 500_000)
    assert b"".join(await read(again, CONTENT)) == CONTENT


@pytest.mark.parametrize("offset", [1, 1_000_001])
async def test_bytes_that_are_not_there_are_a_conflict(artifacts: Artifacts, offset: int) -> None:
    if offset > 1:
        await broken(artifacts, CONTENT, 1_000_000)
    with pytest.raises(errors.Conflict, match="PrepareUpload"):
        await go_on(artifacts, CLAIM, CONTENT[offset:], offset)
    assert await artifacts.offsets([CLAIM]) == [1_000_000 if offset > 1 else 0]  # and nothing is lost by it


async def test_wrong_first_bytes_are_noticed_and_not_kept(artifacts: Artifacts, tmp_path: Path) -> None:
    await broken(artifacts, CONTENT, 1_000_000)
    path = tmp_path / "artifacts" / "unfinished" / CLAIM.sha256
    path.write_bytes(bytes(1_000_000))
    with pytest.raises(errors.ArtifactCorrupt):
        await go_on(artifacts, CLAIM, CONTENT[1_000_000:], 1_000_000)
    assert (files_in(tmp_path), artifacts.room.used) == ([], 0)


async def test_of_two_that_want_to_go_on_one_does(artifacts: Artifacts) -> None:
    await broken(artifacts, CONTENT, 1_000_000)
    async with artifacts.begin() as first, artifacts.begin() as second:
        await first.receive(CLAIM, pieces(CONTENT[1_000_000:]), 1_000_000)
        with pytest.raises(errors.Conflict):
            await second.receive(CLAIM, pieces(CONTENT[1_000_000:]), 1_000_000)
        await first.keep()
    assert b"".join(await read(artifacts, CONTENT)) == CONTENT


async def test_the_longer_of_two_that_broke_off_stays(artifacts: Artifacts) -> None:
    for size in (10, 1_000, 100):
        await broken(artifacts, CONTENT, size)
    assert await artifacts.offsets([CLAIM]) == [1_000]
    assert artifacts.room.used == 1_000


async def test_content_that_is_there_is_used_again_unless_it_has_rotted(artifacts: Artifacts) -> None:
    await store(artifacts, CONTENT)
    async with artifacts.begin([CLAIM]) as upload:
        await upload.reuse(CLAIM)
        await upload.keep()
    artifacts.path(CLAIM.sha256).write_bytes(CONTENT[:-1] + b"x")
    assert await artifacts.offsets([CLAIM]) == [len(CONTENT)]  # nobody has looked
    async with artifacts.begin() as upload:
        with pytest.raises(errors.Conflict):
            await upload.reuse(CLAIM)
        assert await artifacts.offsets([CLAIM]) == [0]
        await upload.receive(CLAIM, pieces(CONTENT))
        await upload.keep()
    async with artifacts.begin() as upload:
        await upload.reuse(CLAIM)
    assert await artifacts.offsets([CLAIM]) == [len(CONTENT)]
    assert artifacts.room.used == len(CONTENT)


async def test_a_file_that_arrived_whole_before_the_upload_broke_off_is_not_sent_again(artifacts: Artifacts) -> None:
    await broken(artifacts, CONTENT, len(CONTENT))
    async with artifacts.begin() as upload:
        await upload.reuse(CLAIM)
        await upload.keep()
    assert b"".join(await read(artifacts, CONTENT)) == CONTENT


async def test_a_quota_and_a_reserve_are_kept_and_name_their_setting(tmp_path: Path) -> None:
    quota = Artifacts(tmp_path / "a", Limits(max_store_bytes=10))
    await store(quota, b"12345")
    for content in (b"123456", b"1234567"):
        with pytest.raises(errors.StorageFull, match=r"may hold 10 \(setting max_store_bytes\)"):
            await store(quota, content)
    assert quota.room.used == 5
    await store(quota, b"54321", b"")
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    with pytest.raises(errors.StorageFull, match="setting min_free_bytes"):
        await store(Artifacts(tmp_path / "b", Limits(min_free_bytes=2 * free)), b"1")


async def test_a_disk_that_fills_up_refuses_and_keeps_what_it_has(small_disk: Path) -> None:
    artifacts = Artifacts(small_disk / "artifacts", Limits(min_free_bytes=0))
    await store(artifacts, b"first")
    with pytest.raises(errors.StorageFull):
        await store(artifacts, CONTENT)
    assert artifacts.room.used == 5
    assert await read(artifacts, b"first") == [b"first"]
    await store(artifacts, bytes(500_000))


MINUTES = [Leftover("a", 10, 0.0), Leftover("b", 20, 60.0), Leftover("c", 30, 120.0)]


@pytest.mark.parametrize(
    ("now", "keep_s", "max_bytes", "gone"),
    [
        (120.0, 1000.0, 60, ""),
        (120.0, 1000.0, 59, "a"),
        (120.0, 1000.0, 30, "ab"),
        (120.0, 1000.0, 0, "abc"),
        (120.0, 60.0, 60, "a"),
        (181.0, 60.0, 60, "abc"),
    ],
)
def test_what_broke_off_is_kept_for_a_bounded_time_and_size(
    now: float, keep_s: float, max_bytes: int, gone: str
) -> None:
    assert sorted(leftover.sha256 for leftover in too_many(MINUTES, now, keep_s, max_bytes)) == list(gone)


async def test_what_did_not_go_on_in_time_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    artifacts = Artifacts(tmp_path, wall=clock)
    await broken(artifacts, CONTENT, 1_000)
    assert await artifacts.forget_unfinished(3600.0) == []
    clock.now += 3601.0
    assert len(await artifacts.forget_unfinished(3600.0, dry_run=True)) == 1
    assert [leftover.size for leftover in await artifacts.forget_unfinished(3600.0)] == [1_000]
    assert (await artifacts.offsets([CLAIM]), artifacts.room.used) == ([0], 0)


# Over a socket


async def prepare(stub: Stub, *files: FileEntry) -> list[int]:
    messages = [model_pb2.FileEntry(path=f.path, size=f.size, sha256=f.sha256) for f in files]
    answer = await ask(stub.PrepareUpload(artifacts_pb2.PrepareUploadRequest(files=messages)))
    return list(answer.offsets)


async def test_a_caller_who_goes_may_come_again_and_sends_only_the_rest(stub: Stub, artifacts: Artifacts) -> None:
    first, second = entry(CONTENT), entry(b"labels", "labels.txt")
    stay = asyncio.Event()

    async def half() -> AsyncIterator[pb.PublishRequest]:
        yield header(second, first)
        for chunk in (b"labels", CONTENT[:1_500_000]):
            yield pb.PublishRequest(chunk=chunk)
        await stay.wait()

    call = stub.Publish(half())
    while artifacts.room.used < 1_500_006:
        assert await prepare(stub, second, first) == [0, 0]  # as long as it may come, nothing is there
    call.cancel()
    while (offsets := await prepare(stub, second, first)) != [6, 1_500_000]:
        assert not any(offsets) or offsets == [6, 0]
    answer = await send(stub, header(second, first, offsets=offsets), CONTENT[1_500_000:])
    assert [file.sha256 for file in answer.manifest.files] == [second.sha256, first.sha256]
    assert b"".join(await read(artifacts, CONTENT)) == CONTENT
    assert artifacts.room.used == len(CONTENT) + 6


async def test_a_stream_that_ends_early_may_go_on(stub: Stub) -> None:
    with pytest.raises(errors.InvalidArgument, match="97152 bytes before the end"):
        await send(stub, header(CLAIM), CONTENT[:2_000_000])
    assert await prepare(stub, CLAIM) == [2_000_000]


async def test_content_of_another_version_is_not_sent_again(stub: Stub, artifacts: Artifacts) -> None:
    await publish(stub, CONTENT)
    offsets = await prepare(stub, CLAIM)
    answer = await send(stub, header(CLAIM, offsets=offsets))
    assert answer.manifest.version == 2
    assert artifacts.room.used == len(CONTENT)


async def test_the_same_content_twice_in_a_version_is_sent_once(stub: Stub, artifacts: Artifacts) -> None:
    again = FileEntry("again", CLAIM.size, CLAIM.sha256)
    await send(stub, header(CLAIM, again, offsets=[0, CLAIM.size]), CONTENT[:1_000_000], CONTENT[1_000_000:])
    await send(stub, header(CLAIM, again, name="other"), *[CONTENT[:1_500_000], CONTENT[1_500_000:]] * 2)
    assert artifacts.room.used == len(CONTENT)


@pytest.mark.parametrize("offsets", [[1, 2], [-1], [CLAIM.size + 1]])
async def test_offsets_that_do_not_fit_are_refused(stub: Stub, offsets: list[int]) -> None:
    with pytest.raises(errors.InvalidArgument, match="offsets"):
        await send(stub, header(CLAIM, offsets=offsets), CONTENT)


async def test_a_version_never_refers_to_a_file_that_is_not_there(stub: Stub, tmp_path: Path) -> None:
    with pytest.raises(errors.Conflict):
        await send(stub, header(CLAIM, offsets=[CLAIM.size]))
    with pytest.raises(errors.ModelNotFound):
        await ask(stub.Deploy(pb.DeployRequest(name="digits")))
    assert files_in(tmp_path / "artifacts") == []


async def test_what_does_not_fit_is_refused_before_its_bytes_are_read(stub: Stub, artifacts: Artifacts) -> None:
    artifacts.room.limits = Limits(max_store_bytes=1_000_000)

    async def endless() -> AsyncIterator[pb.PublishRequest]:
        yield header(CLAIM)
        while True:
            yield pb.PublishRequest(chunk=bytes(1024))

    with pytest.raises(errors.StorageFull, match="max_store_bytes"):
        await ask(stub.Publish(endless()))


@pytest.mark.parametrize(
    "bad", [FileEntry("../x", 1, "ab" * 32), FileEntry("x", -1, "ab" * 32), FileEntry("x", 1, "?")]
)
async def test_preparing_what_could_not_be_published_is_refused(stub: Stub, bad: FileEntry) -> None:
    with pytest.raises(errors.InvalidArgument):
        await prepare(stub, bad)
