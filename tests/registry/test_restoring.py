"""Models of an archive, put back as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock import errors
from penstock.registry.artifacts import Artifacts
from penstock.registry.registry import opened
from penstock.registry.servicer import SERVICE, RegistryServicer
from penstock.rpc.channel import connect
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.v1 import model_pb2, registry_pb2_grpc
from penstock.v1 import registry_pb2 as pb

from .conftest import entry, stored
from .test_artifacts import files_in
from .wire import Stub, ask, publish, register, watching

CONTENTS = [b"first", b"second"]


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Stub]:
    """An empty registry beside the one with the models."""
    async with stored(tmp_path / "other.db") as store:
        servicer = RegistryServicer(await opened(store), Artifacts(tmp_path / "other"))
        server = build(CallInterceptor(), [(SERVICE, servicer)])
        port = bind(server, "127.0.0.1:0", "--registry-port")
        await server.start()
        try:
            async with connect(f"127.0.0.1:{port}") as channel:
                yield registry_pb2_grpc.RegistryServiceStub(channel)
        finally:
            await server.stop(0)


async def exported(stub: Stub) -> list[pb.StoredModel]:
    return [answer.model async for answer in stub.ExportModels(pb.ExportModelsRequest())]


def entries(*contents: bytes) -> list[model_pb2.FileEntry]:
    made = [entry(content) for content in contents]
    return [model_pb2.FileEntry(path=f.sha256, size=f.size, sha256=f.sha256) for f in made]


async def restore(stub: Stub, model: pb.StoredModel, *contents: bytes, offsets: tuple[int, ...] = ()) -> bool:
    header = pb.RestoreHeader(model=model, files=entries(*contents), offsets=offsets)
    chunks = [c for c, o in zip(contents, offsets or [0] * len(contents), strict=True) if o < len(c)]
    requests = [pb.RestoreModelRequest(header=header), *(pb.RestoreModelRequest(chunk=chunk) for chunk in chunks)]
    answer: pb.RestoreModelResponse = await ask(stub.RestoreModel(iter(requests)))
    return answer.existed


async def offer(stub: Stub, model: pb.StoredModel) -> bool:
    """Send the header alone: an answer that comes in the middle of a write is not always what the client says."""
    header = pb.RestoreHeader(model=model, files=entries(*CONTENTS))
    answer: pb.RestoreModelResponse = await ask(stub.RestoreModel(iter([pb.RestoreModelRequest(header=header)])))
    return answer.existed


async def a_model(stub: Stub) -> pb.StoredModel:
    """Of two versions, one of them served, with a history, a deleted version and a pin."""
    for content in (*CONTENTS, b"third"):
        await publish(stub, content)
    await ask(stub.DeleteVersion(pb.DeleteVersionRequest(name="digits", version=3)))
    await register(stub, "w2", 2)
    await ask(stub.SetAlias(pb.SetAliasRequest(name="digits", alias="canary", version=2)))
    await ask(stub.SetAlias(pb.SetAliasRequest(name="digits", alias="stable", version=2)))
    await ask(stub.Deploy(pb.DeployRequest(name="digits", version=1, instances=3, device="cpu")))
    [model] = await exported(stub)
    return model


async def test_a_model_comes_back_as_it_was(stub: Stub, other: Stub, tmp_path: Path) -> None:
    model = await a_model(stub)
    assert not await restore(other, model, *CONTENTS)
    assert await exported(other) == [model]
    assert [(v.manifest.version, v.instances, v.device) for v in model.versions] == [(1, 3, "cpu"), (2, 0, "")]
    assert dict(model.aliases) == {"stable": 2, "canary": 2}
    assert len(model.alias_changes) == 3
    assert model.versions[1].HasField("signature")
    async with watching(other) as watch:
        [seen] = (await watch.read()).models
        assert dict(seen.aliases) == dict(model.aliases)
    async with stored(tmp_path / "other.db") as store:
        [kept] = (await store.load()).models
        assert [version.number for version in kept.versions] == [1, 2]
    assert (await publish(other, b"next")).manifest.version == 4  # 3 was deleted before


async def test_a_second_time_nothing_changes_and_no_bytes_are_needed(stub: Stub, other: Stub) -> None:
    model = await a_model(stub)
    await restore(other, model, *CONTENTS)
    assert await restore(other, model, *CONTENTS, offsets=(5, 6))
    assert await exported(other) == [model]


async def test_what_workers_found_out_since_makes_no_other_model_of_it(stub: Stub, other: Stub) -> None:
    model = await a_model(stub)
    for version in model.versions:
        version.ClearField("signature")
    await restore(other, model, *CONTENTS)
    await register(other, "w2", 2)
    assert await offer(other, model)


async def test_another_model_of_that_name_stays(stub: Stub, other: Stub) -> None:
    model = await a_model(stub)
    await publish(other, b"mine")
    with pytest.raises(errors.VersionExists, match="another model"):
        await offer(other, model)
    [kept] = await exported(other)
    assert len(kept.versions) == 1


async def test_a_model_whose_files_do_not_come_whole_is_not_there(stub: Stub, other: Stub, tmp_path: Path) -> None:
    model = await a_model(stub)
    with pytest.raises(errors.Conflict):
        await restore(other, model, *CONTENTS, offsets=(0, 6))
    header = pb.RestoreHeader(model=model, files=entries(*CONTENTS))
    requests = [pb.RestoreModelRequest(header=header), pb.RestoreModelRequest(chunk=b"FIRST")]
    requests.append(pb.RestoreModelRequest(chunk=CONTENTS[1]))
    with pytest.raises(errors.ArtifactCorrupt):
        await ask(other.RestoreModel(iter(requests)))
    assert await exported(other) == []


def change(model: pb.StoredModel, what: Callable[[Any], object]) -> pb.StoredModel:
    copy = pb.StoredModel.FromString(model.SerializeToString())
    what(copy)
    return copy


@pytest.mark.parametrize(
    "what",
    [
        lambda m: setattr(m, "name", "../x"),
        lambda m: setattr(m, "name", "other"),
        lambda m: m.ClearField("versions"),
        lambda m: m.versions.add().CopyFrom(m.versions[0]),
        lambda m: setattr(m.versions[0].manifest, "version", -1),
        lambda m: setattr(m.versions[0].manifest.files[0], "path", "../../etc/passwd"),
        lambda m: setattr(m.versions[0].manifest.files[0], "sha256", "ab" * 32),
        lambda m: setattr(m.versions[0].manifest.files[0], "size", 4),
        lambda m: setattr(m.versions[0].manifest, "entry", "other.pt2"),
        lambda m: setattr(m.versions[0], "instances", -1),
        lambda m: setattr(m.versions[0], "device", "rm -rf"),
        lambda m: setattr(m.versions[0], "placement", 77),
        lambda m: m.aliases.__setitem__("stable", 9),
        lambda m: m.aliases.__delitem__("stable"),
        lambda m: m.aliases.__setitem__("..", 1),
        lambda m: setattr(m.alias_changes[0], "alias", "A"),
        lambda m: setattr(m.alias_changes[0], "version", -5),
        lambda m: setattr(m.alias_changes[0], "principal", "a\nb"),
        lambda m: m.alias_changes.extend([m.alias_changes[0]] * 3000),
    ],
)
async def test_a_model_that_no_registry_would_have_is_refused(
    stub: Stub, other: Stub, tmp_path: Path, what: Callable[[Any], object]
) -> None:
    model = await a_model(stub)
    with pytest.raises(errors.InvalidArgument):
        await offer(other, change(model, what))
    assert await exported(other) == []
    assert files_in(tmp_path / "other") == []
