"""The life of one of several registries over etcd: whoever leads serves, and all others pass on to it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

from ..errors import RegistryUnavailable
from ..rpc.health import HEALTH, Health
from ..rpc.interceptor import CallInterceptor
from ..rpc.lifecycle import Stop, background, tell_parent, unless_forced
from ..rpc.server import build
from ..rpc.service import method_handlers
from .artifacts import Artifacts
from .budget import Budget
from .config import RegistryConfig
from .door import Door, Leading
from .gate import ensure_admin_key, key_gate
from .registry import Registry, opened
from .replica import Replica
from .running import GRACE_S, bound, served, ticking
from .servicer import SERVICE
from .stores.etcd.address import parse
from .stores.etcd.client import EtcdClient
from .stores.etcd.store import EtcdStore
from .stores.etcd.term import Term, campaign

log = logging.getLogger("penstock.registry")


async def serve_replicated(config: RegistryConfig, stop: Stop) -> int:
    """Over etcd: whoever leads serves, and all others pass on to it."""
    address = parse(config.store)
    async with AsyncExitStack() as stack:
        try:
            client = EtcdClient(address, config.credentials)
        except OSError as error:
            raise ValueError(f"cannot read {error.filename}: {error.strerror}") from None
        stack.push_async_callback(client.close)
        door, health = Door(), Health()
        stack.push_async_callback(door.follow, "")
        extra = {HEALTH: health.handler(), SERVICE.full_name: door.handler()}
        server = build(CallInterceptor([door.gate]), [], extra=extra)
        here = bound(server, config)
        advertised = config.advertise or here

        async def stand() -> Term | str:
            leads = await campaign(client, address.prefix, advertised, time.monotonic)
            return "" if leads == advertised else leads  # the process that was here before: its time is not over yet

        replica = Replica(
            stand,
            lambda term: _leading(config, client, address.prefix, term),
            door,
            Random(),
        )
        await server.start()
        stack.push_async_callback(unless_forced, stop, server.stop(GRACE_S), GRACE_S + 1)
        running = asyncio.create_task(replica.run())
        stack.push_async_callback(_ended, running)
        stack.callback(health.drain)
        ready = asyncio.create_task(_say_ready(door, health, here))
        stack.callback(ready.cancel)
        stopped = asyncio.create_task(stop.requested.wait())
        stack.callback(stopped.cancel)
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()  # raises
        log.info("draining")
    return 0


async def _say_ready(door: Door, health: Health, address: str) -> None:
    """Once it is known who answers."""
    await door.known.wait()
    health.update({"": True, SERVICE.full_name: True})
    log.info("the registry listens on %s", address)
    tell_parent(ready="registry", address=address)


@asynccontextmanager
async def _leading(config: RegistryConfig, client: EtcdClient, prefix: str, term: Term) -> AsyncIterator[Leading]:
    """What serves while this registry leads. It begins with what the store holds."""
    store = EtcdStore(client, prefix, term)
    budget = Budget(config.memory_budget, config.max_loaded)
    registry = await opened(store, lease_ttl_s=config.lease_ttl, keep_warm_s=config.keep_warm, budget=budget)
    servicer, collector, artifacts = await served(registry, config)
    await _look_for_files(registry, artifacts, config.data_dir)
    gate = None
    if config.auth == "keys":
        await ensure_admin_key(registry.keyring, config.data_dir)
        gate = key_gate(registry.keyring)
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(ticking(registry))
            if config.gc_interval:
                background(stack, collector.run(config.gc_interval), log)
            yield Leading(method_handlers(SERVICE, servicer), lambda: term.holds, gate)
    finally:
        registry.hub.close(RegistryUnavailable("this registry leads no longer; ask again"))


async def _look_for_files(registry: Registry, artifacts: Artifacts, data_dir: Path) -> None:
    """Say it at once if this registry has not the files of what is published."""
    files = {file.sha256 for model in registry.models() for v in model.versions for file in v.version.manifest.files}
    missing = await asyncio.to_thread(lambda: sum(not artifacts.path(sha256).exists() for sha256 in files))
    if missing:
        text = (
            "%d of %d files of published versions are not in %s: workers that start cannot fetch them. "
            "Registries over one store must have one folder for artifacts in common"
        )
        log.error(text, missing, len(files), data_dir / "artifacts")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
