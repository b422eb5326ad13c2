from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock import errors
from penstock.registry.gate import RULES
from penstock.registry.serve import RegistryConfig, serve
from penstock.rpc.channel import connect
from penstock.rpc.lifecycle import READY_FD, Stop
from penstock.rpc.ports import PortTaken
from penstock.v1 import registry_pb2 as pb
from penstock.v1 import registry_pb2_grpc

from .wire import Stub, ask, publish, register, watching


@asynccontextmanager
async def running(
    config: RegistryConfig, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[grpc.aio.Channel, Stop]]:
    readable, writable = os.pipe()
    monkeypatch.setenv(READY_FD, str(writable))
    stop = Stop()
    task = asyncio.create_task(serve(config, stop))
    facts = await _told(readable)
    try:
        async with connect(facts["address"]) as channel:
            yield channel, stop
    finally:
        stop.request()
        assert await asyncio.wait_for(task, 20) == 0


async def _told(readable: int) -> dict[str, Any]:
    """What a process says when it is ready."""
    with os.fdopen(readable) as parent:
        line = await asyncio.to_thread(parent.readline)
    facts: dict[str, Any] = json.loads(line)
    assert facts["ready"] == "registry"
    return facts


def stub_of(channel: grpc.aio.Channel) -> Stub:
    return registry_pb2_grpc.RegistryServiceStub(channel)


def bearer(path: Path) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {path.read_text().strip()}")]


async def test_a_registry_serves_until_it_is_asked_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RegistryConfig(tmp_path / "data", port=0)
    async with running(config, monkeypatch) as (channel, stop):
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "penstock.v1.RegistryService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        await publish(stub_of(channel))
        async with watching(stub_of(channel)) as watch:
            assert (await ask(watch.read())).snapshot
            stop.request()
            with pytest.raises(errors.Draining):
                await ask(watch.read())
    assert stat.S_IMODE(config.data_dir.stat().st_mode) == 0o700
    async with running(config, monkeypatch) as (channel, _), watching(stub_of(channel)) as watch:
        assert (await watch.read()).models[0].name == "digits"


async def test_with_keys_only_admins_may_call_and_health_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RegistryConfig(tmp_path, port=0, auth="keys")
    async with running(config, monkeypatch) as (channel, _):
        stub, file = stub_of(channel), tmp_path / "admin.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        health: Any = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest())
        with pytest.raises(errors.AuthMissing):
            await ask(stub.ListKeys(pb.ListKeysRequest()))
        with pytest.raises(errors.AuthInvalid):
            await ask(stub.ListKeys(pb.ListKeysRequest(), metadata=[("authorization", "Bearer nonsense")]))
        request = pb.CreateKeyRequest(name="caller", scopes=["predict:*"])
        made = await ask(stub.CreateKey(request, metadata=bearer(file)))
        weak = [("authorization", f"Bearer {made.key}")]
        with pytest.raises(errors.ScopeInsufficient):
            await ask(stub.Watch(pb.WatchRequest(), metadata=weak).read())
        await ask(stub.RevokeKey(pb.RevokeKeyRequest(key_id=made.record.key_id), metadata=bearer(file)))
        with pytest.raises(errors.AuthInvalid):
            await ask(stub.ListKeys(pb.ListKeysRequest(), metadata=weak))


async def test_the_admin_key_is_made_once_and_anew_when_it_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, file = RegistryConfig(tmp_path, port=0, auth="keys"), tmp_path / "admin.key"
    async with running(config, monkeypatch):
        first = file.read_text()
    async with running(config, monkeypatch):
        assert file.read_text() == first
    file.unlink()
    async with running(config, monkeypatch) as (channel, _):
        answer = await ask(stub_of(channel).ListKeys(pb.ListKeysRequest(), metadata=bearer(file)))
        assert len(answer.keys) == 2


def test_every_method_of_the_registry_has_a_rule() -> None:
    for method in pb.DESCRIPTOR.services_by_name["RegistryService"].methods:
        assert f"/penstock.v1.RegistryService/{method.name}" in RULES


@pytest.mark.parametrize(
    ("change", "hint"),
    [({"host": "0.0.0.0"}, "--insecure"), ({"auth": "maybe"}, "off, keys"), ({"lease_ttl": 0.0}, "TTL")],
)
async def test_a_configuration_that_cannot_be_run_is_refused(tmp_path: Path, change: dict[str, Any], hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        await serve(RegistryConfig(tmp_path, port=0, **change), Stop())


async def test_two_registries_cannot_share_a_folder_or_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readable, writable = os.pipe()
    monkeypatch.setenv(READY_FD, str(writable))
    stop = Stop()
    task = asyncio.create_task(serve(RegistryConfig(tmp_path / "a", port=0), stop))
    port = int((await _told(readable))["address"].rpartition(":")[2])
    try:
        with pytest.raises(ValueError, match="another registry uses"):
            await serve(RegistryConfig(tmp_path / "a", port=0), Stop())
        with pytest.raises(PortTaken):
            await serve(RegistryConfig(tmp_path / "b", port=port), Stop())
    finally:
        stop.request()
        await task


PROGRAM = """
import sys
from pathlib import Path
from penstock.registry.serve import RegistryConfig, serve
from penstock.rpc.lifecycle import run
run(lambda stop: serve(RegistryConfig(Path(sys.argv[1]), port=0), stop))
"""


@asynccontextmanager
async def process(data_dir: Path) -> AsyncIterator[tuple[Stub, asyncio.subprocess.Process]]:
    """A registry in a process of its own, killed at the end."""
    readable, writable = os.pipe()
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(data_dir), pass_fds=[writable], env={**os.environ, READY_FD: str(writable)}
    )
    os.close(writable)
    try:
        facts = await _told(readable)
        async with connect(facts["address"]) as channel:
            yield stub_of(channel), made
    finally:
        if made.returncode is None:
            made.send_signal(signal.SIGKILL)
        await made.wait()


@pytest.mark.process
async def test_what_was_acknowledged_survives_a_kill_and_workers_go_on(tmp_path: Path) -> None:
    epochs: list[int] = []
    for turn in range(1, 4):
        async with process(tmp_path) as (stub, _):
            if epochs:
                await ask(stub.RenewLease(pb.RenewLeaseRequest(worker_id=f"w{turn - 1}", epoch=epochs[-1])))
            await publish(stub, str(turn).encode())
            epochs.append((await register(stub, f"w{turn}", turn)).epoch)
            request = pb.SetAliasRequest(name="digits", alias="canary", version=turn)
            await ask(stub.SetAlias(request))  # and then it is killed at once
    assert epochs == sorted(set(epochs))
    async with process(tmp_path) as (stub, _), watching(stub) as watch:
        seen = await watch.read()
        assert [v.manifest.version for v in seen.models[0].versions] == [1, 2, 3]
        assert dict(seen.models[0].aliases) == {"stable": 1, "canary": 3}
        assert {w.worker_id for w in seen.workers} == {"w1", "w2", "w3"}
        history = await ask(stub.ListAliasChanges(pb.ListAliasChangesRequest(name="digits", alias="canary")))
        assert [c.version for c in history.changes] == [3, 2, 1]


@pytest.mark.process
async def test_a_terminated_process_drains_and_ends_well(tmp_path: Path) -> None:
    async with process(tmp_path) as (stub, made):
        await publish(stub)
        made.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(made.wait(), 20) == 0
