from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock.testing import Server, running

from .conftest import load_on, write_scale

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.mark.parametrize("victim", ["worker", "gateway", "registry"])
async def test_service_resumes_by_itself_when_a_process_is_killed_under_load(server: Server, victim: str) -> None:
    before = server.command("status", "scale")[0]["versions"][0]["instances"][0]["pid"]
    async with load_on(server, retries=20) as load:
        pid = before if victim == "worker" else server.children(victim)[0]
        os.kill(pid, signal.SIGKILL)
        await load.more(500)
    assert load.wrong == 0
    assert {type(e).__name__ for e in load.failures} <= {"Unavailable", "WorkerLost", "NoLiveWorker", "ModelLoading"}


async def test_a_killed_worker_is_replaced_by_another_process(server: Server) -> None:
    old = server.command("status", "scale")[0]["versions"][0]["instances"][0]
    os.kill(old["pid"], signal.SIGKILL)
    async with load_on(server, retries=20) as load:
        await load.more(50)
    new = [i for i in server.command("status", "scale")[0]["versions"][0]["instances"] if i["state"] == "AVAILABLE"]
    assert [i["pid"] for i in new] != [old["pid"]]
    assert new[0]["epoch"] > old["epoch"]


async def test_with_two_instances_a_drained_worker_costs_no_request(server: Server) -> None:
    server.command("deploy", "scale", "--version", "1", "--instances", "2")
    await _until_instances(server, 2)
    instances = server.command("status", "scale")[0]["versions"][0]["instances"]
    async with load_on(server) as load:
        os.kill(instances[0]["pid"], signal.SIGTERM)
        await load.more(3000)
        server.command("drain", instances[1]["worker"])
        await load.more(3000)
    assert (load.failures, load.wrong) == ([], 0)


async def _until_instances(server: Server, count: int) -> None:
    import penstock

    async with penstock.AsyncClient(server.grpc) as client:
        async for change in client.watch_status("scale"):
            states = [i.state for model in change.models for v in model.versions for i in v.instances]
            if states.count("AVAILABLE") == count:
                return


async def test_sigterm_under_load_loses_nothing_for_callers_who_watch_health(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        server.command("publish", "scale", write_scale(tmp_path, 2))
        async with load_on(server) as load:
            os.kill(server.pid, signal.SIGTERM)
            await _until_not_serving(server)
            load.stop.set()
    assert (load.failures, load.wrong) == ([], 0)


async def _until_not_serving(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(service="models/scale")):
            if answer.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                return


async def test_an_alias_moves_under_load_without_a_failed_request(server: Server, tmp_path: Path) -> None:
    source = write_scale(tmp_path, 2.0, name="again")  # the same factor, so that every answer can be checked
    async with load_on(server) as load:
        await asyncio.to_thread(server.command, "publish", "scale", source, "--alias", "stable")
        await load.more(500)
        await asyncio.to_thread(server.command, "rollback", "scale")
        await load.more(500)
    assert (load.failures, load.wrong) == ([], 0)
    assert server.command("status", "scale")[0]["aliases"] == {"stable": 1}


async def test_a_killed_supervisor_takes_its_children_along_and_a_new_one_serves_the_same(tmp_path: Path) -> None:
    data = tmp_path / "data"
    children: list[int] = []

    def serve_and_kill() -> None:
        with running(data) as server:
            server.command("publish", "scale", write_scale(tmp_path, 2))
            children.extend(pid for name in ("registry", "gateway", "worker") for pid in server.children(name))
            os.kill(server.pid, signal.SIGKILL)

    with pytest.raises(RuntimeError, match="-9"):
        await asyncio.to_thread(serve_and_kill)
    for pid in children:
        await _until_gone(pid)
    with running(data) as server:
        async with load_on(server, retries=20) as load:
            await load.more(10)
    assert load.wrong == 0


async def _until_gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
