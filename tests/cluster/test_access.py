from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from penstock import errors
from penstock.rpc.channel import client_options
from penstock.rpc.errors import from_rpc_error
from penstock.v1 import model_status_pb2, model_status_pb2_grpc, registry_pb2_grpc
from penstock.v1 import registry_pb2 as pb

from .conftest import PREDICT, SERVING, Gateway, World, ask, key_record, model, request

ADMIN = f"psk_{'a' * 16}_{'0' * 64}"
DIGITS = f"psk_{'b' * 16}_{'0' * 64}"


def bearer(key: str) -> dict[str, Any]:
    return {"metadata": [("authorization", f"Bearer {key}")]}


@pytest.fixture
async def gateway(world: World) -> Gateway:
    keys = [key_record(ADMIN, "root", "admin"), key_record(DIGITS, "ann", "predict:digits")]
    world.registry.publish(
        models=[model(), model("secret-model"), model("secret-digit"), model("secret-digits-l")], keys=keys
    )
    return (await world.served(auth="keys"))[0]


async def test_a_good_key_is_let_in(gateway: Gateway) -> None:
    assert await gateway.predict(**bearer(DIGITS)) == request()


async def test_without_a_key_nobody_is_let_in(gateway: Gateway) -> None:
    with pytest.raises(errors.AuthMissing):
        await ask(gateway.predict())


@pytest.mark.parametrize("key", ["x", DIGITS[:-1] + "1", f"psk_{'c' * 16}_{'0' * 64}"])
async def test_a_bad_key_is_refused(gateway: Gateway, key: str) -> None:
    with pytest.raises(errors.AuthInvalid):
        await ask(gateway.predict(**bearer(key)))


async def test_another_model_is_refused_alike_whether_it_exists_or_not(gateway: Gateway) -> None:
    texts = set()
    for name in ("secret-model", "nothere"):
        with pytest.raises(errors.ScopeInsufficient) as refused:
            await ask(gateway.predict(request(name), **bearer(DIGITS)))
        assert refused.value.metadata["requiredScope"] == f"predict:{name}"
        texts.add(refused.value.message.replace(name, "NAME"))
    assert len(texts) == 1


async def test_a_hint_names_no_model_that_the_caller_may_not_see(world: World, gateway: Gateway) -> None:
    wide = f"psk_{'d' * 16}_{'0' * 64}"
    world.registry.publish(keys=[key_record(wide, "bob", "predict:secret-*l")])
    found: errors.PenstockError = errors.AuthInvalid("")
    while isinstance(found, errors.AuthInvalid):  # until the key has arrived
        with pytest.raises(errors.PenstockError) as refused:
            await ask(gateway.predict(request("secret-digit-l"), **bearer(wide)))
        found = refused.value
    assert isinstance(found, errors.ModelNotFound)
    assert "'secret-digits-l'" in found.message
    assert "'secret-digit'" not in found.message


async def test_a_revoked_key_is_refused_once_the_watch_says_so(world: World, gateway: Gateway) -> None:
    await gateway.predict(**bearer(DIGITS))
    world.registry.publish(removed_keys=["b" * 16])
    async with asyncio.timeout(10):
        while True:
            try:
                await ask(gateway.predict(**bearer(DIGITS)))
            except errors.AuthInvalid:
                break


async def test_a_list_shows_the_models_that_the_caller_may_see(gateway: Gateway) -> None:
    stub = model_status_pb2_grpc.ModelStatusServiceStub(gateway.channel)
    for key, names in ((DIGITS, ["digits"]), (ADMIN, ["digits", "secret-digit", "secret-digits-l", "secret-model"])):
        call: Any = stub.ListModels(model_status_pb2.ListModelsRequest(), **bearer(key))
        assert [m.name for m in (await call).models] == names


async def test_control_is_for_admins_and_goes_on_under_their_name(world: World, gateway: Gateway) -> None:
    stub = registry_pb2_grpc.RegistryServiceStub(gateway.channel)
    denied: Any = stub.ListKeys(pb.ListKeysRequest(), **bearer(DIGITS))
    with pytest.raises(errors.ScopeInsufficient):
        await ask(denied)
    assert not world.registry.control
    metadata = [("authorization", f"Bearer {ADMIN}"), ("x-penstock-principal", "somebody")]
    allowed: Any = stub.ListKeys(pb.ListKeysRequest(), metadata=metadata)
    await ask(allowed)
    (seen,) = world.registry.control
    assert seen["x-penstock-principal"] == "root"
    assert "authorization" not in seen


async def test_an_error_of_the_registry_passes_unchanged(gateway: Gateway) -> None:
    stub = registry_pb2_grpc.RegistryServiceStub(gateway.channel)
    call: Any = stub.SetAlias(pb.SetAliasRequest(name="digits"), **bearer(ADMIN))
    with pytest.raises(errors.Conflict, match="somebody was faster"):
        await ask(call)


async def test_probes_need_no_key(gateway: Gateway) -> None:
    await gateway.until(SERVING, "")


async def test_health_lists_models_only_to_those_who_may_see_them(gateway: Gateway) -> None:
    send: Any = gateway.channel.unary_unary("/grpc.health.v1.Health/List")
    with pytest.raises(errors.AuthMissing):
        await ask(send(b""))
    assert b"secret-model" not in await send(b"", **bearer(DIGITS))
    assert b"models/digits" in await send(b"", **bearer(DIGITS))
    assert b"secret-model" in await send(b"", **bearer(ADMIN))


async def test_a_refused_call_never_reads_its_body(gateway: Gateway) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(1_000_000)

    def publish() -> None:
        # The blocking client: grpc.aio's says INTERNAL when the status comes in the middle of its own write.
        with grpc.insecure_channel(gateway.address, client_options(16 * 1024**2)) as channel:
            send: Any = channel.stream_unary("/penstock.v1.RegistryService/Publish")
            try:
                send(endless(), timeout=20)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None

    with pytest.raises(errors.AuthMissing):
        await asyncio.to_thread(publish)
    assert sent < 30


async def test_a_refused_unary_call_is_answered_although_its_body_would_be_too_large(world: World) -> None:
    world.registry.publish(keys=[key_record(DIGITS, "ann", "predict:digits")])
    gateway, _ = await world.served(auth="keys", max_message_bytes=10_000)
    with pytest.raises(errors.AuthMissing):
        await ask(gateway.predict(bytes(5_000_000)))


async def test_the_access_log_has_a_line_for_each_call_and_never_a_key(
    world: World, gateway: Gateway, tmp_path: Path
) -> None:
    await gateway.predict(metadata=[("authorization", f"Bearer {DIGITS}"), ("x-request-id", "good-1")])
    for name, options in (("nothere", bearer(ADMIN)), ("digits", {}), ("digits", bearer("x" * 80))):
        with pytest.raises(errors.PenstockError):
            await ask(gateway.predict(request(name), **options))
    gateway.stop.request()
    await asyncio.shield(gateway.task)
    text = (tmp_path / "data" / "logs" / "access.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    predicts = [line for line in lines if line["method"] == PREDICT]
    assert [(line["code"], line["reason"], line["principal"]) for line in predicts] == [
        ("OK", "", "ann"),
        ("NOT_FOUND", "MODEL_NOT_FOUND", "root"),
        ("UNAUTHENTICATED", "AUTH_MISSING", ""),
        ("UNAUTHENTICATED", "AUTH_INVALID", ""),
    ]
    good = predicts[0]
    assert (good["request_id"], good["model"], good["version"], good["worker"]) == ("good-1", "digits", 1, "w1")
    assert good["ms"] > 0
    assert "psk_" not in text
    assert "x" * 80 not in text
