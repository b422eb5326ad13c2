from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.errors import ArtifactCorrupt, StorageFull, Unavailable
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.worker.cache import PARTS, Part, folder_at
from penstock.worker.fetch import Progress, fetch
from penstock.worker.registry_client import RegistryClient

from .fake_registry import FakeRegistry, left_in
from .served import REGISTRY


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
async def client(tmp_path: Path, registry: FakeRegistry) -> AsyncIterator[RegistryClient]:
    server = build(CallInterceptor(), [(REGISTRY, registry)])
    bind(server, f"unix:{tmp_path}/registry.sock", "--registry-port")
    await server.start()
    made = RegistryClient(f"unix:{tmp_path}/registry.sock")
    yield made
    await made.close()
    await server.stop(0)


async def bring(
    client: RegistryClient, registry: FakeRegistry, cache: Path, progress: Progress = lambda done: None
) -> Path:
    with await fetch(client, registry.manifest, cache, progress) as files:
        files.check()
        return files.folder


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


async def test_every_file_is_brought_to_its_place(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("model.pt2", b"m" * 1000)
    registry.publish("more/labels.txt", b"")
    done: list[float] = []
    folder = await bring(client, registry, tmp_path / "cache", done.append)
    assert folder == tmp_path / "cache" / "scale" / "1"
    assert left_in(folder) == ["model.pt2", "more/labels.txt"]
    assert (folder / "model.pt2").read_bytes() == b"m" * 1000
    assert done == sorted(done)
    assert done[-1] == 1.0


async def test_what_is_there_is_not_fetched_again_unless_it_has_rotted(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("a", b"first")
    registry.publish("b", b"second")
    for _ in range(2):
        folder = await bring(client, registry, tmp_path / "cache")
        assert registry.fetched == 2
    overwrite(folder / "b", b"secund")
    await bring(client, registry, tmp_path / "cache")
    assert (registry.fetched, (folder / "b").read_bytes()) == (3, b"second")


async def test_a_wrong_digest_is_refused_and_nothing_is_left(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("model.pt2", b"other", digest="0" * 64)
    with pytest.raises(
        ArtifactCorrupt, match=r"'model\.pt2' came with 5 bytes and digest .* publish the version again"
    ):
        await bring(client, registry, tmp_path / "cache")
    assert left_in(tmp_path / "cache") == []
    assert registry.fetched == 2  # once more, and no more


async def test_what_came_wrong_once_is_fetched_once_more(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("model.pt2", b"weights")
    registry.damaged = 1
    folder = await bring(client, registry, tmp_path / "cache")
    assert ((folder / "model.pt2").read_bytes(), registry.fetched) == (b"weights", 2)


async def test_a_wrong_size_is_refused(tmp_path: Path, registry: FakeRegistry, client: RegistryClient) -> None:
    registry.publish("model.pt2", b"weights")
    registry.manifest.files[0].size = 6
    with pytest.raises(ArtifactCorrupt, match="published were 6"):
        await bring(client, registry, tmp_path / "cache")


@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/evil", "", ".", "a\\..\\evil"])
async def test_a_path_that_leads_out_of_the_folder_is_refused(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient, path: str
) -> None:
    registry.publish(path, b"evil")
    with pytest.raises(ArtifactCorrupt, match="a file outside its folder"):
        await bring(client, registry, tmp_path / "cache")
    assert left_in(tmp_path) == []


async def test_a_fetch_that_breaks_leaves_nothing(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("model.pt2", b"weights")
    await client.close()
    with pytest.raises(Unavailable):
        await fetch(RegistryClient(f"unix:{tmp_path}/nobody.sock"), registry.manifest, tmp_path / "c", lambda _: None)
    assert left_in(tmp_path / "c") == []


async def test_only_the_owner_may_enter_and_nobody_may_write(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("more/labels.txt", b"a b")
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    folder = await bring(client, registry, cache)
    entries = {path: path.stat().st_mode & 0o777 for path in (cache, *cache.rglob("*"))}
    assert {mode for path, mode in entries.items() if path.is_dir()} == {0o700}
    assert entries[folder / "more" / "labels.txt"] == 0o400


async def test_what_was_not_published_is_removed_before_a_loader_sees_it(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("pkg/scale.py", b"x = 1")
    folder = await bring(client, registry, tmp_path / "cache")
    (folder / "torch.py").write_text("raise SystemExit")
    (folder / "pkg" / "__pycache__").mkdir()
    (folder / "pkg" / "__pycache__" / "scale.cpython-311.pyc").write_bytes(b"other code")
    (folder / "link").symlink_to(tmp_path)
    await bring(client, registry, tmp_path / "cache")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == ["pkg", "pkg/scale.py"]


async def test_a_link_or_a_pipe_in_the_place_of_a_file_is_replaced_and_never_followed(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("a", b"weights")
    registry.publish("b", b"biases")
    folder = await bring(client, registry, tmp_path / "cache")
    secret = tmp_path / "secret"
    secret.write_bytes(b"weights")  # even with the right content it is somebody else's file
    (folder / "a").unlink()
    (folder / "a").symlink_to(secret)
    (folder / "b").unlink()
    os.mkfifo(folder / "b")
    await bring(client, registry, tmp_path / "cache")
    assert [(folder / name).read_bytes() for name in "ab"] == [b"weights", b"biases"]
    assert not (folder / "a").is_symlink()
    assert secret.stat().st_mode & 0o777 != 0o400


@pytest.mark.parametrize("above", ["scale", "scale/1", "scale/1/more"])
async def test_a_link_in_the_place_of_a_folder_is_refused(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient, above: str
) -> None:
    registry.publish("more/model.pt2", b"weights")
    link = tmp_path / "cache" / above
    link.parent.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    link.symlink_to(outside)
    with pytest.raises(ArtifactCorrupt, match="a link"):
        await bring(client, registry, tmp_path / "cache")
    assert left_in(outside) == []


@pytest.mark.parametrize("swap", [True, False], ids=["another file", "the same file, written to"])
async def test_a_file_that_is_changed_between_check_and_load_is_not_used(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient, swap: bool
) -> None:
    registry.publish("model.pt2", b"weights")
    for _ in range(2):  # fetched, and found
        with await fetch(client, registry.manifest, tmp_path / "cache", lambda done: None) as files:
            path = files.folder / "model.pt2"
            if swap:
                (tmp_path / "evil").write_bytes(b"weights")
                (tmp_path / "evil").replace(path)
            else:
                overwrite(path, b"WEIGHTS")
                os.utime(path, ns=(0, 0))
            with pytest.raises(ArtifactCorrupt, match="was changed"):
                files.check()


async def test_what_a_killed_worker_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("model.pt2", b"weights")
    parts = tmp_path / "cache" / PARTS
    parts.mkdir(parents=True)
    (parts / "dead").write_bytes(b"half of it")
    with folder_at(tmp_path / "cache", (PARTS,)) as folder:
        living = Part(folder)
        await bring(client, registry, tmp_path / "cache")
        assert len(left_in(parts)) == 1
        living.close()
    assert left_in(parts) == []


async def test_no_descriptor_stays_open(tmp_path: Path, registry: FakeRegistry, client: RegistryClient) -> None:
    registry.publish("good", b"weights")
    await bring(client, registry, tmp_path / "cache")
    before = len(os.listdir("/proc/self/fd"))
    await bring(client, registry, tmp_path / "cache")
    registry.publish("bad", b"other", digest="0" * 64)
    with pytest.raises(ArtifactCorrupt):
        await bring(client, registry, tmp_path / "cache")
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_full_disk_fails_the_fetch_with_its_own_error_and_leaves_nothing(
    small_disk: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("small", b"x")
    registry.publish("model.pt2", bytes(2 * 1024 * 1024))
    with pytest.raises(StorageFull, match="worker's cache"):
        await bring(client, registry, small_disk)
    assert left_in(small_disk) == ["scale/1/small"]
    registry.manifest.files.pop()
    await bring(client, registry, small_disk)
