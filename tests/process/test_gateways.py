"""Two gateways before one worker: both serve, and the one does not suffer when the other is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import penstock
from penstock.testing import Server, running

from .processes import connections
from .questions import Ask, Ledger, ask_all, publish

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
Clients = dict[int, list[penstock.AsyncClient]]


@asynccontextmanager
async def clients_of_both(server: Server, each: int = 2, retries: int = 0) -> AsyncIterator[Clients]:
    """Connections, by the gateway that the system gave them to."""
    port = int(server.grpc.rpartition(":")[2])
    found: Clients = {pid: [] for pid in server.children("gateway")}
    async with AsyncExitStack() as stack:
        while any(len(clients) < each for clients in found.values()):
            before = {pid: connections(pid, port) for pid in found}
            options = (("grpc.use_local_subchannel_pool", 1),)
            client = penstock.AsyncClient(server.grpc, retries=retries, channel_options=options)
            await stack.enter_async_context(client)
            await client.status("affine")
            (pid,) = (pid for pid in found if connections(pid, port) - before[pid])
            found[pid].append(client)
        yield found


async def test_two_gateways_share_a_worker_and_all_is_answered(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--gateways=2") as server:
        publish(server, tmp_path)
        async with clients_of_both(server) as found:
            one, two = found.values()
            both, alone = Ledger(), Ledger()
            asked = [[Ask(number, rows=1 + number % 3) for number in range(f, f + 500)] for f in range(0, 4000, 1000)]
            async with asyncio.TaskGroup() as group:
                for client, some in zip((*one[:2], *two[:2]), asked, strict=True):
                    group.create_task(ask_all(client, some, both, at_once=64))
            both.check(ask for some in asked for ask in some)
            few = [Ask(number) for number in range(10_000, 10_050)]
            many = [Ask(number) for number in range(20_000, 21_000)]
            async with asyncio.TaskGroup() as group:  # now one of them has all the demand
                group.create_task(ask_all(two[0], few, alone, at_once=1))
                group.create_task(ask_all(one[0], many, alone, at_once=200))
            alone.check(few + many)


async def test_a_killed_gateway_costs_its_own_callers_only_and_its_share_of_the_worker_comes_back(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "data", "--gateways=2") as server:
        publish(server, tmp_path)
        async with clients_of_both(server) as found:
            (victim, theirs), (_, others) = found.items()
            lost, kept = Ledger(), Ledger()
            asked = [[Ask(number) for number in range(first, first + 1500)] for first in (0, 10_000)]
            async with asyncio.TaskGroup() as group:
                group.create_task(ask_all(theirs[0], asked[0], lost, at_once=64))
                group.create_task(ask_all(others[0], asked[1], kept, at_once=64))
                while lost.outcomes["right"] < 200 or kept.outcomes["right"] < 200:
                    await theirs[1].predict("affine", {"x": Ask(90_000).x})
                os.kill(victim, signal.SIGKILL)
            kept.check(asked[1])
            assert lost.outcomes["wrong"] == 0
            assert {error.code.name for error in lost.failures} <= {"UNAVAILABLE"}
            further = [Ask(number, rows=1 + number % 8) for number in range(20_000, 22_000)]
            after = Ledger()
            await ask_all(others[0], further, after, at_once=256)
            after.check(further)
