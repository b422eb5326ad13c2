"""Many who load and unload at the same time, while others ask a model that nobody touches."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import grpc
import grpc.aio

import penstock
from penstock.client.status import state_name
from penstock.testing import Server
from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from .callers import Timeline, load_on, publish, write_version

CHURNED = "churned"
VERSIONS = 4
STATES = {"START", "LOADING", "AVAILABLE", "UNLOADING", "END"}
MAX_GROWTH = 1.05
ENOUGH = 10_000
"""Calls, for what grows to be a leak: with fewer the servers have not reached their size at the first look."""


async def churn(server: Server, folder: Path, callers: int, each: int) -> dict[str, Any]:
    """Callers of the control service, so many with so many calls each.

    Afterwards the model is as the last call says, as many workers run as that asks for, and, after many calls, the
    servers hold hardly more memory than after the first fifth of them.
    """
    publish(server, folder, 1)
    for number in range(1, VERSIONS + 1):
        server.command("publish", CHURNED, write_version(folder, number), "--version", str(number))
    outcomes: Counter[str] = Counter()
    line, most = Timeline(1), 0
    async with load_on(server, line, callers=4) as ledger, grpc.aio.insecure_channel(server.grpc) as channel:
        stub: Any = RegistryServiceStub(channel)
        await _all(stub, callers, each // 5, outcomes)
        before = _memory(server)
        calls = asyncio.create_task(_all(stub, callers, each - each // 5, outcomes, seed=1))
        while not calls.done():
            most = max(most, len(server.children("worker")))
            await asyncio.wait({calls}, timeout=0.5)
        await calls
        after = _memory(server)
        await stub.SetPolicy(_policy(CHURNED, 1))
        await stub.Deploy(pb.DeployRequest(name=CHURNED, instances=1))
        await asyncio.to_thread(_settled, server)
    growth = {name: round(after[name] / before[name], 3) for name in before}
    leaks = outcomes.total() >= ENOUGH and max(growth.values()) > MAX_GROWTH
    legal = outcomes.keys() <= {"OK", "FAILED_PRECONDITION"}
    ok = ledger.is_clean and legal and not leaks
    return {
        "calls": outcomes.total(),
        "outcomes": dict(outcomes),
        "most workers at once": most,
        "memory grew to": growth,
        **ledger.figures(),
        "ok": ok,
    }


async def _all(stub: Any, callers: int, each: int, outcomes: Counter[str], seed: int = 0) -> None:
    async with asyncio.TaskGroup() as group:
        for caller in range(callers):
            group.create_task(_change(stub, Random(1000 * seed + caller), each, outcomes))


async def _change(stub: Any, random: Random, times: int, outcomes: Counter[str]) -> None:
    for _ in range(times):
        version, what = random.randint(0, VERSIONS), random.randrange(3)
        try:
            model = (await _changed(stub, what, version)).model
            assert {state_name(version.state) for version in model.versions} <= STATES
            outcomes["OK"] += 1
        except grpc.aio.AioRpcError as error:
            outcomes[error.code().name] += 1


def _changed(stub: Any, what: int, version: int) -> Any:
    """A change of the model; version 0: of all."""
    if what == 0:
        return stub.Deploy(pb.DeployRequest(name=CHURNED, version=version, instances=1))
    if what == 1:
        return stub.Undeploy(pb.UndeployRequest(name=CHURNED, version=version))
    return stub.SetPolicy(_policy(CHURNED, max(version, 1)))


def _policy(name: str, latest: int) -> pb.SetPolicyRequest:
    request = pb.SetPolicyRequest(name=name)
    request.policy.versions.latest = latest
    request.update_mask.paths.append("versions")
    return request


def _settled(server: Server) -> None:
    """Wait until exactly what is wanted runs: `stable` and the newest of the churned model, one of the other."""
    with penstock.Client(server.grpc) as client:
        for change in client.watch_status(CHURNED, timeout=300):
            for model in change.models:
                states = {v.version: v.state for v in model.versions}
                if states == {1: "AVAILABLE", 2: "END", 3: "END", 4: "AVAILABLE"} and _workers(server) <= 4:
                    return
    raise AssertionError("it did not settle")


def _workers(server: Server) -> int:
    """The spare is one, too."""
    return len(server.children("worker"))


def _memory(server: Server) -> dict[str, int]:
    """Resident KiB of the processes that stay."""
    pids = {"supervisor": server.pid, "registry": server.children("registry")[0]}
    pids["gateway"] = server.children("gateway")[0]
    return {name: _resident(pid) for name, pid in pids.items()}


def _resident(pid: int) -> int:
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith("VmRSS:"):
            return int(row.split()[1])
    raise AssertionError("no VmRSS")
