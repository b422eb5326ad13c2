from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock import errors
from penstock.client import ModelStatus, StatusChange
from penstock.client.status import available, model_status, state_name
from penstock.rpc.messages import signature_to_message
from penstock.signature import Signature, TensorSpec
from penstock.v1 import model_pb2
from penstock.v1 import model_status_pb2 as pb

State = model_pb2.ModelState


def model(name: str = "digits", state: Any = State.MODEL_STATE_AVAILABLE, **version: Any) -> pb.ModelStatus:
    one = pb.VersionStatus(version=2, state=state, aliases=["stable"], **version)
    return pb.ModelStatus(name=name, versions=[one], aliases={"stable": 2})


def change(*models: pb.ModelStatus) -> pb.WatchModelStatusResponse:
    return pb.WatchModelStatusResponse(models=models)


async def test_the_status_of_all_models_comes_page_by_page(client: Any, served: Any) -> None:
    assert await client.status() == []
    served.statuses.models = [model("a"), model("b"), model("c")]
    assert [m.name for m in await client.status()] == ["a", "b", "c"]


async def test_the_status_of_one_model(client: Any, served: Any) -> None:
    instance = pb.InstanceStatus(worker_id="w1", device="cpu", state=State.MODEL_STATE_LOADING, stage="loading", pid=7)
    served.statuses.models = [model(instances=[instance], desired_instances=1, format="python")]
    (found,) = await client.status("digits")
    (version,) = found.versions
    assert (version.state, version.aliases, version.format, found.aliases) == (
        "AVAILABLE",
        ("stable",),
        "python",
        {"stable": 2},
    )
    assert (version.instances[0].worker, version.instances[0].state, version.instances[0].pid) == ("w1", "LOADING", 7)
    with pytest.raises(errors.ModelNotFound) as caught:
        await client.status("none")
    assert caught.value.resource == ("model", "none")


async def test_metadata_says_what_a_version_takes(client: Any, served: Any) -> None:
    signature = Signature((TensorSpec("FP32", ["batch", 4], "x"),), (TensorSpec("INT64", ["batch"], "y"),), "batch")
    manifest = model_pb2.Manifest(name="digits", version=2, format="python", labels={"by": "me"})
    manifest.created.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    spec = model_pb2.ModelSpec(name="digits", version=2)
    served.statuses.metadata = pb.GetModelMetadataResponse(
        model_spec=spec, signature=signature_to_message(signature), manifest=manifest
    )
    found = await client.metadata("digits")
    assert (found.model, found.version, found.signature, found.format) == ("digits", 2, signature, "python")
    assert (found.labels, found.created) == ({"by": "me"}, datetime(2026, 1, 2, tzinfo=UTC))


async def test_metadata_before_the_first_load_has_no_signature(client: Any) -> None:
    found = await client.metadata("digits", version=2)
    assert (found.signature, found.created) == (None, None)


async def test_a_watch_gives_every_change(client: Any, served: Any) -> None:
    served.statuses.changes = [change(), change(model()), pb.WatchModelStatusResponse(removed=["old"])]
    changes = client.watch_status("digits")
    assert await anext(changes) == StatusChange((), ())
    assert (await anext(changes)).models[0].name == "digits"
    assert (await anext(changes)).removed == ("old",)
    await changes.aclose()
    assert served.statuses.watched == ["digits"]


async def test_a_watch_ends_at_its_timeout(client: Any) -> None:
    with pytest.raises(errors.DeadlineExceeded):
        await anext(client.watch_status(timeout=0.05))


async def test_waiting_ends_when_the_version_answers(client: Any, served: Any) -> None:
    served.statuses.changes = [change(), change(model(state=State.MODEL_STATE_LOADING)), change(model())]
    found = await client.wait_until_available("digits", timeout=10)
    assert (found.version, found.state) == (2, "AVAILABLE")


async def test_waiting_outlives_a_server_that_is_not_ready(client: Any, served: Any) -> None:
    served.statuses.fail = [errors.RegistryUnavailable("starting", retry_after=0.0)]
    served.statuses.changes = [change(model())]
    assert (await client.wait_until_available("digits", 2, timeout=10)).version == 2


async def test_waiting_ends_with_the_reason_when_the_load_failed(client: Any, served: Any) -> None:
    failed = model(state=State.MODEL_STATE_END, load_failed=True, reason="no file model.pt2")
    served.statuses.changes = [change(failed)]
    with pytest.raises(errors.ModelLoadFailed, match=r"no file model\.pt2"):
        await client.wait_until_available("digits")


async def test_waiting_ends_with_its_timeout(client: Any, served: Any) -> None:
    served.statuses.changes = [change()]
    with pytest.raises(errors.DeadlineExceeded, match=r"version 2 of digits was not available within 0\.05 s"):
        await client.wait_until_available("digits", 2, timeout=0.05)


async def test_waiting_where_nobody_listens_ends_with_its_timeout(connect: Any) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(errors.DeadlineExceeded):
            await connect("127.0.0.1:1").wait_until_available("digits", timeout=0.2)


@pytest.mark.parametrize(
    ("status", "version", "expected"),
    [
        (model(), None, 2),
        (model(), 2, 2),
        (model(), 1, None),
        (model("other"), None, None),
        (model(state=State.MODEL_STATE_LOADING, load_failed=True), None, None),
        (model(state=State.MODEL_STATE_END), None, None),
        (pb.ModelStatus(name="digits", versions=model().versions), None, None),
    ],
)
def test_what_counts_as_available(status: pb.ModelStatus, version: int | None, expected: int | None) -> None:
    found = available(StatusChange((model_status(status),), ()), "digits", version)
    assert (found.version if found else None) == expected


def test_a_state_newer_than_this_release_is_its_number() -> None:
    assert [state_name(4), state_name(99)] == ["UNLOADING", "99"]


def test_a_version_is_found_by_number_or_alias() -> None:
    status: ModelStatus = model_status(model())
    assert status.find() is status.find(2) is status.versions[0]
    assert status.find(alias="canary") is None
