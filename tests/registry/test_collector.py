"""Files go when nothing needs them any more, and never sooner."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock import errors
from penstock.registry.artifacts import Artifacts
from penstock.registry.artifacts.garbage import Blob, garbage
from penstock.registry.collector import Collector
from penstock.v1 import artifacts_pb2
from penstock.v1 import registry_pb2 as pb

from .conftest import World, entry, stored
from .test_artifacts import read, store
from .wire import Stub, ask, publish, register, watching

BLOBS = [Blob("a", 1, 0.0), Blob("b", 2, 50.0), Blob("c", 3, 100.0)]


@pytest.mark.parametrize(
    ("needed", "held", "grace_s", "gone"),
    [
        ("", "", 0.0, "abc"),
        ("a", "c", 0.0, "b"),
        ("", "", 50.0, "ab"),
        ("", "", 51.0, "a"),
        ("abc", "", 0.0, ""),
        ("", "abc", 0.0, ""),
    ],
)
def test_garbage_is_what_nothing_has_needed_for_a_while(needed: str, held: str, grace_s: float, gone: str) -> None:
    assert [blob.sha256 for blob in garbage(BLOBS, needed, held, 100.0, grace_s)] == list(gone)


@pytest.fixture
def artifacts(tmp_path: Path, world: World) -> Artifacts:
    return Artifacts(tmp_path / "artifacts", wall=world.wall)


@pytest.fixture
def collector(world: World, artifacts: Artifacts) -> Collector:
    return Collector(world.registry, artifacts, grace_s=60.0)


async def delete(stub: Stub, version: int) -> pb.DeleteVersionResponse:
    answer: pb.DeleteVersionResponse = await ask(
        stub.DeleteVersion(pb.DeleteVersionRequest(name="digits", version=version))
    )
    return answer


async def collect(stub: Stub, **options: bool) -> artifacts_pb2.CollectGarbageResponse:
    answer: artifacts_pb2.CollectGarbageResponse = await ask(
        stub.CollectGarbage(artifacts_pb2.CollectGarbageRequest(**options))
    )
    return answer


async def test_the_files_of_a_deleted_version_go_after_the_grace_time(
    stub: Stub, world: World, artifacts: Artifacts, collector: Collector
) -> None:
    await publish(stub, b"first")
    await publish(stub, b"second")
    world.wall.now += 3600.0  # old already when it is deleted: the grace time begins then all the same
    await collector.delete_version("digits", 2)
    assert (await collector.collect()).blobs == []
    world.wall.now += 61.0
    assert [blob.size for blob in (await collector.collect(dry_run=True)).blobs] == [6]
    assert [blob.size for blob in (await collector.collect()).blobs] == [6]
    assert await read(artifacts, b"first") == [b"first"]
    with pytest.raises(errors.NotFound):
        await read(artifacts, b"second")
    assert artifacts.room.used == 5


async def test_a_file_that_another_version_has_stays(stub: Stub, artifacts: Artifacts) -> None:
    for _ in range(2):
        await publish(stub, b"same")
    await delete(stub, 2)
    assert (await collect(stub, ignore_grace=True)).files == 0
    assert await read(artifacts, b"same") == [b"same"]


async def test_a_deletion_is_told_and_outlives_the_process(stub: Stub, world: World, tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        await publish(stub, content)
    async with watching(stub) as watch:
        await watch.read()
        answer = await delete(stub, 2)
        [seen] = (await watch.read()).models
    for model in (answer.model, seen):
        assert [version.manifest.version for version in model.versions] == [1]
        assert model.settings.deleted_up_to == 2
    with pytest.raises(errors.VersionNotFound):
        await delete(stub, 2)
    async with stored(tmp_path / "registry.db") as again:
        [model] = (await again.load()).models
    assert ([version.number for version in model.versions], model.settings.deleted_up_to) == ([1], 2)
    assert (await publish(stub, b"third")).manifest.version == 3
    with pytest.raises(errors.FailedPrecondition, match="were deleted"):
        await publish(stub, b"other", version=2)


async def test_what_a_worker_holds_is_deleted_only_when_it_has_let_go(stub: Stub) -> None:
    for content in (b"first", b"second"):
        await publish(stub, content)
    await register(stub, "w2", 2)
    with pytest.raises(errors.FailedPrecondition, match="workers hold it"):
        await delete(stub, 2)
    await ask(stub.RevokeLease(pb.RevokeLeaseRequest(worker_id="w2")))
    await delete(stub, 2)
    with pytest.raises(errors.VersionNotFound):
        await register(stub, "w3", 2)


async def test_what_a_crash_left_between_the_files_and_the_version_is_collected(
    world: World, artifacts: Artifacts, collector: Collector, tmp_path: Path
) -> None:
    await store(artifacts, b"orphan")  # in place, and no version of it
    await artifacts.touch([entry(b"orphan").sha256])  # the file's own time is that of another clock
    left = artifacts.uploads / "dead" / f"{entry(b'half of it').sha256}.0"
    left.parent.mkdir()
    left.write_bytes(b"half")
    again = Artifacts(tmp_path / "artifacts", wall=world.wall)
    world.wall.now += 24 * 3600.0 + 61.0
    found = await Collector(world.registry, again, grace_s=60.0).collect()
    assert ([blob.size for blob in found.blobs], [leftover.size for leftover in found.leftovers]) == ([6], [4])
    assert found.size == 10
    assert again.room.used == 0
