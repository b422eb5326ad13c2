from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.errors import ArtifactCorrupt, Unavailable
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.worker.fetch import fetch
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


async def test_every_file_is_brought_to_its_place(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("model.pt2", b"m" * 1000)
    registry.publish("more/labels.txt", b"")
    done: list[float] = []
    folder = await fetch(client, registry.manifest, tmp_path / "cache", done.append)
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
        folder = await fetch(client, registry.manifest, tmp_path / "cache", lambda done: None)
        assert registry.fetched == 2
    (folder / "b").write_bytes(b"secund")
    await fetch(client, registry.manifest, tmp_path / "cache", lambda done: None)
    assert (registry.fetched, (folder / "b").read_bytes()) == (3, b"second")


async def test_a_wrong_digest_is_refused_and_nothing_is_left(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("model.pt2", b"other", digest="0" * 64)
    with pytest.raises(
        ArtifactCorrupt, match=r"'model\.pt2' came with 5 bytes and digest .* publish the version again"
    ):
        await fetch(client, registry.manifest, tmp_path / "cache", lambda done: None)
    assert left_in(tmp_path / "cache") == []


async def test_a_wrong_size_is_refused(tmp_path: Path, registry: FakeRegistry, client: RegistryClient) -> None:
    registry.publish("model.pt2", b"weights")
    registry.manifest.files[0].size = 6
    with pytest.raises(ArtifactCorrupt, match="published were 6"):
        await fetch(client, registry.manifest, tmp_path / "cache", lambda done: None)


@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/evil", "", ".", "a\\..\\evil"])
async def test_a_path_that_leads_out_of_the_folder_is_refused(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient, path: str
) -> None:
    registry.publish(path, b"evil")
    with pytest.raises(ArtifactCorrupt, match="a file outside its folder"):
        await fetch(client, registry.manifest, tmp_path / "cache", lambda done: None)
    assert left_in(tmp_path) == []


async def test_a_fetch_that_breaks_leaves_nothing(
    tmp_path: Path, registry: FakeRegistry, client: RegistryClient
) -> None:
    registry.publish("model.pt2", b"weights")
    await client.close()
    with pytest.raises(Unavailable):
        await fetch(RegistryClient(f"unix:{tmp_path}/nobody.sock"), registry.manifest, tmp_path / "c", lambda _: None)
    assert left_in(tmp_path / "c") == []
