"""Predictions and changes without a pause, and what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import grpc.aio
import numpy as np

import penstock
from penstock.rpc.channel import connect
from penstock.rpc.errors import from_rpc_error
from penstock.v1 import registry_pb2 as pb
from penstock.v1 import registry_pb2_grpc

Stub: TypeAlias = "registry_pb2_grpc.RegistryServiceAsyncStub"

CALLERS = 8
PAUSE_S = 0.01
"""Between two changes."""


@dataclass
class Traffic:
    """All that goes to one gateway. Times are monotonic seconds."""

    address: str
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """Of predictions that were right: when they were answered, and how many seconds they took."""
    failures: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    acknowledged: list[float] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    fewest_workers: int = 1_000_000
    """That the gateway has listed at any time."""

    async def predict(self, client: penstock.AsyncClient, number: int) -> None:
        """One caller, who always sends other values."""
        while True:
            number += 1
            x = np.full((1, 4), number % 1000, np.float32)
            began = time.monotonic()
            try:
                answer = await client.predict("scale", {"x": x})
            except penstock.errors.PenstockError as error:
                self.failures[error.reason or type(error).__name__] += 1
                continue
            now = time.monotonic()
            self.latencies.append((now, now - began))
            self.wrong += not np.array_equal(answer["y"], x * 2)

    async def change(self, stub: Stub) -> None:
        """One operator, who makes one key after the other."""
        while True:
            try:
                answer = await stub.CreateKey(pb.CreateKeyRequest(name="faults", scopes=["status:*"]), timeout=20)
            except grpc.aio.AioRpcError as error:
                self.refused[from_rpc_error(error).reason or error.code().name] += 1
            else:
                self.made.add(answer.record.key_id)
                self.acknowledged.append(time.monotonic())
            await asyncio.sleep(PAUSE_S)

    async def watch(self, client: penstock.AsyncClient) -> None:
        """How many workers the gateway lists."""
        async for change in client.watch_status("scale"):
            for model in change.models:
                listed = sum(len(version.instances) for version in model.versions)
                self.fewest_workers = min(self.fewest_workers, listed)

    async def lost(self, stub: Stub) -> int:
        """How many changes that were acknowledged are not there."""
        kept = {key.key_id for key in (await stub.ListKeys(pb.ListKeysRequest(), timeout=20)).keys}
        return len(self.made - kept)

    async def resynced(self, stub: Stub, client: penstock.AsyncClient, instances: int) -> float:
        """Seconds until another number of instances can be set, and the gateway has heard of it."""
        began = time.monotonic()
        request = pb.DeployRequest(name="scale", instances=instances)
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.Deploy(request, timeout=20)
                break
            await asyncio.sleep(PAUSE_S)
        async for change in client.watch_status("scale"):
            if any(version.desired_instances == instances for model in change.models for version in model.versions):
                break
        return time.monotonic() - began

    def longest_pause(self, since: float, until: float) -> float:
        """Seconds without an acknowledged change, at most."""
        times = [since, *(when for when in self.acknowledged if since <= when < until), until]
        return max(later - sooner for sooner, later in pairwise(times))

    def p99_ms(self, since: float, until: float) -> float:
        """Of the predictions that were answered in that time."""
        taken = [seconds for when, seconds in self.latencies if since <= when < until]
        return float(np.percentile(taken, 99)) * 1000 if taken else float("nan")


@asynccontextmanager
async def flowing(address: str, *, changes: bool) -> AsyncIterator[tuple[Traffic, Stub, penstock.AsyncClient]]:
    """Traffic for the length of a block, and what to ask the same gateway with."""
    traffic = Traffic(address)
    async with (
        penstock.AsyncClient(address, timeout=20, retries=0) as client,
        connect(address, internal=False) as channel,
    ):
        stub: Stub = registry_pb2_grpc.RegistryServiceStub(channel)
        tasks = [asyncio.create_task(traffic.predict(client, 1000 * number)) for number in range(CALLERS)]
        tasks.append(asyncio.create_task(traffic.watch(client)))
        if changes:
            tasks.append(asyncio.create_task(traffic.change(stub)))
        try:
            yield traffic, stub, client
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome
