from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from penstock import errors
from penstock.v1 import model_pb2
from penstock.v1 import model_status_pb2 as pb
from penstock.v1.model_status_pb2_grpc import ModelStatusServiceStub

from .conftest import END, LOADING, NOT_SERVING, SERVING, Gateway, World, ask, model

UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
SERVICES = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "penstock.v1.ModelStatusService",
    "penstock.v1.PredictService",
    "penstock.v1.RegistryService",
}


async def check(gateway: Gateway, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(gateway.channel)
    answer = await ask(stub.Check(health_pb2.HealthCheckRequest(service=service)))
    return int(answer.status)


def spec(name: str = "", **more: Any) -> model_pb2.ModelSpec:
    return model_pb2.ModelSpec(name=name, **more)


@pytest.mark.parametrize(
    "service", ["", "penstock.v1.PredictService", "penstock.v1.ModelStatusService", "models/digits"]
)
async def test_what_is_served_is_healthy(world: World, service: str) -> None:
    gateway, _ = await world.served()
    assert await check(gateway, service) == SERVING


async def test_the_health_of_what_is_not_there_is_not_found(world: World) -> None:
    gateway, _ = await world.served()
    with pytest.raises(errors.NotFound) as failed:
        await check(gateway, "models/nothere")
    assert failed.value.reason == "NOT_FOUND"


async def test_a_model_is_unhealthy_once_its_worker_is_gone(world: World) -> None:
    gateway, worker = await world.served()
    await worker.stop()
    await gateway.until(NOT_SERVING)
    await worker.start()
    await gateway.until(SERVING)


async def test_a_model_is_unhealthy_once_it_is_undeployed(world: World) -> None:
    gateway, worker = await world.served()
    world.registry.publish(models=[model(state=END)], removed_workers=[worker.worker_id])
    await gateway.until(NOT_SERVING)


async def test_a_model_that_is_no_more_is_unknown(world: World) -> None:
    gateway, worker = await world.served()
    world.registry.publish(models=[model(state=END)], removed_workers=[worker.worker_id])
    world.registry.publish(snapshot=True)
    await gateway.until(UNKNOWN)


async def test_all_watchers_hear_of_a_change_also_after_one_of_them_has_left(world: World) -> None:
    gateway, worker = await world.served()
    stub: Any = health_pb2_grpc.HealthStub(gateway.channel)
    calls = [stub.Watch(health_pb2.HealthCheckRequest(service="models/digits"), timeout=20) for _ in range(3)]
    for call in calls:
        assert (await call.read()).status == SERVING
    calls[0].cancel()
    await gateway.until(SERVING)
    await worker.stop()
    for call in calls[1:]:
        assert (await call.read()).status == NOT_SERVING
        call.cancel()


async def test_a_list_has_everything(world: World) -> None:
    gateway, _ = await world.served()
    send: Any = gateway.channel.unary_unary("/grpc.health.v1.Health/List")
    answer = await send(b"")
    for name in (b"models/digits", b"penstock.v1.PredictService"):
        assert name in answer


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_every_service(world: World, version: str) -> None:
    gateway, _ = await world.served()
    send: Any = gateway.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    questions = [reflection_pb2.ServerReflectionRequest(list_services="")]
    questions += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in sorted(SERVICES)]
    listed, *described = [answer async for answer in send(iter(questions))]
    assert {service.name for service in listed.list_services_response.service} == SERVICES
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in described)


async def test_models_are_listed_a_page_at_a_time(world: World) -> None:
    world.registry.publish(models=[model(f"m{number}") for number in range(5)])
    gateway, _ = await world.served()
    stub = ModelStatusServiceStub(gateway.channel)
    names, token = [], ""
    for expected in (2, 2, 2):
        call: Any = stub.ListModels(pb.ListModelsRequest(page_size=2, page_token=token))
        page = await call
        names += [m.name for m in page.models]
        token = page.next_page_token
        assert len(page.models) == expected
    assert names == ["digits", "m0", "m1", "m2", "m3", "m4"]
    assert token == ""


async def test_a_page_has_a_size(world: World) -> None:
    gateway, _ = await world.served()
    call: Any = ModelStatusServiceStub(gateway.channel).ListModels(pb.ListModelsRequest(page_size=-1))
    with pytest.raises(errors.InvalidArgument) as refused:
        await ask(call)
    assert refused.value.violations[0].field == "page_size"


async def test_one_models_status_has_its_workers(world: World) -> None:
    gateway, _ = await world.served()
    call: Any = ModelStatusServiceStub(gateway.channel).GetModelStatus(
        pb.GetModelStatusRequest(model_spec=spec("digits"))
    )
    answer = await call
    (version,) = answer.model.versions
    assert [i.worker_id for i in version.instances] == ["w1"]
    assert (list(version.aliases), dict(answer.model.aliases)) == (["stable"], {"stable": 1})


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (spec("nothere"), errors.ModelNotFound),
        (spec("digits", version=9), errors.VersionNotFound),
        (spec("digits", alias="beta"), errors.AliasNotFound),
        (spec(""), errors.InvalidArgument),
    ],
)
@pytest.mark.parametrize("method", ["GetModelStatus", "GetModelMetadata"])
async def test_a_status_of_what_is_not_there_is_an_error(
    world: World, method: str, asked: model_pb2.ModelSpec, error: type[errors.PenstockError]
) -> None:
    gateway, _ = await world.served()
    stub = ModelStatusServiceStub(gateway.channel)
    message = getattr(pb, f"{method}Request")(model_spec=asked)
    with pytest.raises(error):
        await ask(getattr(stub, method)(message))


async def test_metadata_are_the_manifest(world: World) -> None:
    gateway, _ = await world.served()
    request = pb.GetModelMetadataRequest(model_spec=spec("digits"))
    call: Any = ModelStatusServiceStub(gateway.channel).GetModelMetadata(request)
    answer = await call
    assert answer.model_spec == spec("digits", version=1)
    assert answer.manifest.format == "python"


async def test_a_model_without_versions_is_no_bug(world: World) -> None:
    empty = model("empty")
    del empty.versions[:]
    empty.aliases.clear()
    world.registry.publish(models=[empty])
    gateway, _ = await world.served()
    stub = ModelStatusServiceStub(gateway.channel)
    status: Any = stub.GetModelStatus(pb.GetModelStatusRequest(model_spec=spec("empty")))
    assert not (await status).model.versions
    metadata: Any = stub.GetModelMetadata(pb.GetModelMetadataRequest(model_spec=spec("empty")))
    with pytest.raises(errors.VersionNotFound):
        await ask(metadata)


async def test_a_watch_begins_with_everything_and_tells_changes(world: World) -> None:
    gateway, _ = await world.served()
    call: Any = ModelStatusServiceStub(gateway.channel).WatchModelStatus(pb.WatchModelStatusRequest(), timeout=20)
    assert [m.name for m in (await call.read()).models] == ["digits"]
    world.registry.publish(models=[model("new", LOADING)])
    (changed,) = (await call.read()).models
    assert (changed.name, changed.versions[0].state) == ("new", LOADING)
    world.registry.publish(models=[model("digits")])  # nothing new: not told
    world.registry.publish(snapshot=True, models=[model("digits")])
    answer = await call.read()
    while not answer.removed:
        answer = await call.read()
    assert list(answer.removed) == ["new"]
    call.cancel()


async def test_a_watch_of_one_model_tells_nothing_of_others(world: World) -> None:
    gateway, _ = await world.served()
    request = pb.WatchModelStatusRequest(model_spec=spec("digits"))
    call: Any = ModelStatusServiceStub(gateway.channel).WatchModelStatus(request, timeout=20)
    assert len((await call.read()).models) == 1
    world.registry.publish(models=[model("other")])
    world.registry.publish(models=[model(state=LOADING)])
    (changed,) = (await call.read()).models
    assert changed.name == "digits"
    call.cancel()


async def test_a_watcher_that_leaves_is_forgotten(world: World) -> None:
    gateway, _ = await world.served()
    before = len(asyncio.all_tasks())
    for _ in range(20):
        call: Any = ModelStatusServiceStub(gateway.channel).WatchModelStatus(pb.WatchModelStatusRequest())
        await call.read()
        call.cancel()
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before + 5:
            await gateway.until(SERVING)
