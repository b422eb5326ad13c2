from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from penstock import errors
from penstock.registry.artifacts import Artifacts
from penstock.registry.state import FileEntry
from penstock.rpc.messages import signature_to_message
from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from .conftest import World, entry
from .test_artifacts import files_in
from .test_store import SIGNATURE
from .wire import Stub, ask, header, publish, record, register, send, watching


async def test_a_model_from_its_publication_to_its_end(stub: Stub) -> None:
    async with watching(stub) as watch:
        assert (await watch.read()).snapshot
        first = await publish(stub, labels={"git": "abc"})
        assert (first.manifest.version, first.existed) == (1, False)
        seen = await watch.read()
        assert seen.models[0].versions[0].state == model_pb2.MODEL_STATE_START
        assert dict(seen.models[0].aliases) == {"stable": 1}

        lease = await register(stub)
        assert (lease.epoch, lease.ttl.seconds) == (1, 10)
        while not seen.workers:  # what the model takes may be told before
            seen = await watch.read()
        assert seen.models[0].versions[0].state == model_pb2.MODEL_STATE_AVAILABLE
        assert seen.models[0].versions[0].signature == signature_to_message(SIGNATURE)
        assert [worker.worker_id for worker in seen.workers] == ["w1"]

        await publish(stub, b"better")
        await register(stub, "w2", 2)
        moved = await ask(
            stub.SetAlias(pb.SetAliasRequest(name="digits", alias="stable", version=2, expected_version=1))
        )
        assert (moved.previous_version, dict(moved.model.aliases)) == (1, {"stable": 2})
        back = await ask(stub.RollbackAlias(pb.RollbackAliasRequest(name="digits")))
        assert (back.version, back.previous_version) == (1, 2)

        off = await ask(stub.Undeploy(pb.UndeployRequest(name="digits")))
        assert {v.state for v in off.model.versions} == {model_pb2.MODEL_STATE_UNLOADING}
        for worker_id in ("w1", "w2", "w2"):
            await ask(stub.RevokeLease(pb.RevokeLeaseRequest(worker_id=worker_id)))
        while "w2" not in seen.removed_workers:
            seen = await watch.read()
        assert {v.state for v in seen.models[0].versions} == {model_pb2.MODEL_STATE_END}


async def test_a_policy_is_set_field_by_field_and_read(stub: Stub) -> None:
    await publish(stub)
    await publish(stub, b"better")
    policy = pb.ServingPolicy(instances=3, device="cpu")
    policy.keep_warm.FromSeconds(7)
    request = pb.SetPolicyRequest(name="digits", policy=policy)
    request.update_mask.paths.extend(["instances", "keep_warm"])
    model = (await ask(stub.SetPolicy(request))).model
    assert [v.desired_instances for v in model.versions] == [3, 3]
    assert (model.settings.serving.device, model.versions[0].device) == ("", "auto")
    assert (await ask(stub.GetModel(pb.GetModelRequest(name="digits")))).model == model
    request.update_mask.paths.append("nothing")
    with pytest.raises(errors.InvalidArgument):
        await ask(stub.SetPolicy(request))


async def test_until_when_a_version_is_only_kept_warm_is_told(stub: Stub, world: World) -> None:
    for number in (1, 2):
        await publish(stub, str(number).encode())
        await register(stub, f"w{number}", number)
    moved = await ask(stub.SetAlias(pb.SetAliasRequest(name="digits", alias="stable", version=2)))
    warm = [v.warm_until.seconds if v.HasField("warm_until") else None for v in moved.model.versions]
    assert warm == [world.wall.now + 300, None]


async def test_files_come_back_as_they_were_sent(stub: Stub) -> None:
    large, small = bytes(range(256)) * 10_000, b"x"
    files = (entry(large), entry(b"", "empty"), entry(small, "small"))
    await send(stub, header(*files), large[:2_000_000], large[2_000_000:], small)
    for content in (large, small, b""):
        call = stub.FetchFile(pb.FetchFileRequest(sha256=entry(content).sha256))
        chunks = [message.chunk async for message in call]
        assert b"".join(chunks) == content
        assert all(len(chunk) <= 1024 * 1024 for chunk in chunks)


async def test_an_unknown_file_is_not_found(stub: Stub) -> None:
    with pytest.raises(errors.NotFound):
        await ask(stub.FetchFile(pb.FetchFileRequest(sha256="ab" * 32)).read())


async def test_publishing_the_same_again_changes_nothing(stub: Stub) -> None:
    first = await publish(stub, version=3)
    again = await publish(stub, version=3, aliases=["canary"])
    assert (again.manifest, again.existed) == (first.manifest, True)
    answer = await ask(stub.Deploy(pb.DeployRequest(name="digits")))
    assert dict(answer.model.aliases) == {"stable": 3}


@pytest.mark.parametrize(
    "padding",
    [
        model_pb2.Padding(),
        model_pb2.Padding(value=-1.5, masks={"ids": "mask"}, buckets=[64, 128], max_pad_fraction=0.25),
    ],
)
async def test_padding_reaches_whoever_watches_and_is_content(stub: Stub, padding: model_pb2.Padding) -> None:
    asked = model_pb2.BatchPolicy(padding=padding)
    published = await publish(stub, version=3, batching=asked)
    assert (await publish(stub, version=3, batching=asked)).existed
    async with watching(stub) as watch:
        [model] = (await watch.read()).models
    seen = model.versions[0].manifest.batching
    assert seen.HasField("padding")
    assert seen.padding == published.manifest.batching.padding == padding
    with pytest.raises(errors.VersionExists):
        await publish(stub, version=3)


@pytest.mark.parametrize(
    "more",
    [
        {"examples": model_pb2.Examples(golden="model.pt2", warm_up="model.pt2", rtol=0.0)},
        {"optimization": model_pb2.OPTIMIZATION_AUTO},
    ],
)
async def test_examples_and_optimization_reach_whoever_watches_and_are_content(stub: Stub, more: Any) -> None:
    await publish(stub, version=3, **more)
    assert (await publish(stub, version=3, **more)).existed
    async with watching(stub) as watch:
        [model] = (await watch.read()).models
    seen = model.versions[0].manifest
    assert seen.examples == more.get("examples", model_pb2.Examples())
    assert seen.HasField("examples") == ("examples" in more)
    assert seen.optimization == more.get("optimization", 0)
    with pytest.raises(errors.VersionExists):
        await publish(stub, version=3)


async def test_publishing_other_content_is_refused_before_its_bytes_are_read(stub: Stub) -> None:
    await publish(stub, version=3)

    async def endless() -> AsyncIterator[pb.PublishRequest]:
        """No byte follows: a refusal in the middle of a write is "Internal error from Core" to grpc.aio's clients."""
        yield header(FileEntry("model.pt2", 2**35, "ab" * 32), version=3)
        await asyncio.Event().wait()

    with pytest.raises(errors.VersionExists):
        await asyncio.wait_for(ask(stub.Publish(endless())), 30)


WEIGHTS = entry(b"weights")


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], errors.InvalidArgument),
        ([pb.PublishRequest()], errors.InvalidArgument),
        ([pb.PublishRequest(chunk=b"x")], errors.InvalidArgument),
        ([header(WEIGHTS)], errors.InvalidArgument),
        ([header(WEIGHTS), pb.PublishRequest(chunk=b"weights!")], errors.InvalidArgument),
        ([header(WEIGHTS), pb.PublishRequest(chunk=b"weights"), pb.PublishRequest()], errors.InvalidArgument),
        ([header(WEIGHTS), header(WEIGHTS)], errors.InvalidArgument),
        ([header(WEIGHTS), pb.PublishRequest(chunk=b"weighty")], errors.ArtifactCorrupt),
        ([header(FileEntry("../x", 1, "ab" * 32))], errors.InvalidArgument),
    ],
)
async def test_a_bad_upload_is_refused_and_nothing_stays(
    stub: Stub, tmp_path: Path, messages: Sequence[pb.PublishRequest], error: type[errors.PenstockError]
) -> None:
    with pytest.raises(error):
        await ask(stub.Publish(iter(messages)))
    assert files_in(tmp_path / "artifacts") == []
    with pytest.raises(errors.ModelNotFound):
        await ask(stub.Deploy(pb.DeployRequest(name="digits")))


async def test_of_many_publishers_of_one_version_one_wins(stub: Stub, artifacts: Artifacts, tmp_path: Path) -> None:
    contents = [b"mine" if number % 2 else b"yours" for number in range(32)]
    outcomes = await asyncio.gather(*(publish(stub, c, version=1) for c in contents), return_exceptions=True)
    stored = [r for r in outcomes if isinstance(r, pb.PublishResponse)]
    refused = [r for r in outcomes if isinstance(r, errors.VersionExists)]
    assert len(stored) == len(refused) == 16
    assert sorted(r.existed for r in stored) == [False] + [True] * 15
    assert len({r.manifest.files[0].sha256 for r in stored}) == 1
    assert files_in(tmp_path / "artifacts") == [artifacts.path(stored[0].manifest.files[0].sha256)]


async def test_publishers_without_a_number_each_get_their_own(stub: Stub) -> None:
    answers = await asyncio.gather(*(publish(stub, str(number).encode()) for number in range(16)))
    assert sorted(answer.manifest.version for answer in answers) == list(range(1, 17))


async def test_of_many_who_move_an_alias_one_wins(stub: Stub) -> None:
    for number in (1, 2):
        await publish(stub, str(number).encode())
        await register(stub, f"w{number}", number)
    request = pb.SetAliasRequest(name="digits", alias="canary", version=2, expected_version=0)
    outcomes = await asyncio.gather(*(ask(stub.SetAlias(request)) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, errors.Conflict) for outcome in outcomes) == 7


async def test_the_history_names_the_principal_that_a_gateway_forwards(stub: Stub) -> None:
    await send(stub, header(WEIGHTS), b"weights", metadata=[("x-penstock-principal", "ann")])
    await publish(stub, b"2", aliases=["canary"])
    await ask(stub.DeleteAlias(pb.DeleteAliasRequest(name="digits", alias="canary")))
    answer = await ask(stub.ListAliasChanges(pb.ListAliasChangesRequest(name="digits")))
    seen = [(c.alias, c.version, c.previous_version, c.principal) for c in answer.changes]
    assert seen == [("canary", 0, 2, "anonymous"), ("canary", 2, 0, "anonymous"), ("stable", 1, 0, "ann")]
    assert answer.changes[0].time.seconds == 1_000_000


async def test_a_worker_hears_that_it_is_to_drain(stub: Stub) -> None:
    await publish(stub)
    epoch = (await register(stub)).epoch
    drained = await ask(stub.DrainWorker(pb.DrainWorkerRequest(worker_id="w1")))
    assert drained.worker.state == model_pb2.MODEL_STATE_UNLOADING
    assert (await ask(stub.RenewLease(pb.RenewLeaseRequest(worker_id="w1", epoch=epoch)))).drain
    with pytest.raises(errors.LeaseFenced):
        await ask(stub.RenewLease(pb.RenewLeaseRequest(worker_id="w1", epoch=epoch + 1)))


async def test_a_failed_load_is_told_with_its_reason(stub: Stub) -> None:
    await publish(stub)
    loading = record(state=model_pb2.MODEL_STATE_LOADING, stage="loading", progress=0.5)
    async with watching(stub) as watch:
        await watch.read()
        await ask(stub.ReportLoad(pb.ReportLoadRequest(worker=loading)))
        assert (await watch.read()).workers[0].progress == 0.5
        failed = record(state=model_pb2.MODEL_STATE_END)
        await ask(stub.ReportLoad(pb.ReportLoadRequest(worker=failed, error="no weights")))
        seen = await watch.read()
        assert seen.models[0].versions[0].load_error == "no weights"
        assert seen.removed_workers == ["w1"]


async def test_a_signature_of_an_unknown_dtype_is_refused(stub: Stub) -> None:
    await publish(stub)
    signature = signature_to_message(SIGNATURE)
    signature.inputs[0].ClearField("dtype")
    with pytest.raises(errors.InvalidArgument):
        await ask(stub.RegisterWorker(pb.RegisterWorkerRequest(worker=record(), signature=signature)))


async def test_a_key_is_shown_once_listed_watched_and_revoked(stub: Stub) -> None:
    async with watching(stub) as watch:
        await watch.read()
        made = await ask(stub.CreateKey(pb.CreateKeyRequest(name="ci", scopes=["predict:digits"])))
        assert made.key.startswith(f"psk_{made.record.key_id}_")
        assert (await watch.read()).keys == [made.record]
        assert (await ask(stub.ListKeys(pb.ListKeysRequest()))).keys == [made.record]
        await ask(stub.RevokeKey(pb.RevokeKeyRequest(key_id=made.record.key_id)))
        assert (await watch.read()).removed_keys == [made.record.key_id]
    with pytest.raises(errors.InvalidArgument):
        await ask(stub.CreateKey(pb.CreateKeyRequest(name="ci", scopes=["root"])))


async def test_bytes_that_are_no_message_are_refused(channel: grpc.aio.Channel) -> None:
    raw: Any = channel
    with pytest.raises(errors.MalformedRequest):
        await ask(raw.unary_unary("/penstock.v1.RegistryService/Deploy")(b"\xff\xff"))
    with pytest.raises(errors.MalformedRequest):
        await ask(raw.stream_unary("/penstock.v1.RegistryService/Publish")(iter([b"\xff\xff"])))


@pytest.mark.parametrize("name", ["", "../x", "a\0b", "'; DROP TABLE versions; --", "x" * 10_000])
async def test_a_bad_name_is_refused_everywhere(stub: Stub, name: str) -> None:
    calls: list[Awaitable[Any]] = [
        stub.Deploy(pb.DeployRequest(name=name)),
        stub.Undeploy(pb.UndeployRequest(name=name)),
        stub.SetAlias(pb.SetAliasRequest(name=name, alias="a", version=1)),
        stub.DeleteAlias(pb.DeleteAliasRequest(name=name, alias="a")),
        stub.RollbackAlias(pb.RollbackAliasRequest(name=name)),
        stub.ListAliasChanges(pb.ListAliasChangesRequest(name=name)),
    ]
    for call in calls:
        with pytest.raises(errors.InvalidArgument):
            await ask(call)
