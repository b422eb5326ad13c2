"""The registry's process: wires store, registry and server, and takes them down in the reverse order."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import grpc.aio

from ..errors import Draining
from ..rpc.health import HEALTH, Health
from ..rpc.interceptor import CallInterceptor
from ..rpc.lifecycle import Stop, background, tell_parent, unless_forced
from ..rpc.server import build
from .budget import Budget
from .config import SQLITE, RegistryConfig
from .gate import ensure_admin_key, key_gate
from .registry import opened
from .replicated import serve_replicated
from .running import GRACE_S, bound, served, ticking
from .servicer import SERVICE
from .stores.sqlite import SqliteStore

__all__ = ["RegistryConfig", "serve"]

log = logging.getLogger("penstock.registry")


async def serve(config: RegistryConfig, stop: Stop) -> int:
    """Run a registry until it is asked to stop; the exit status.

    Raises:
        ValueError: the configuration is not usable, or the data folder is in use or of a newer release.
        PortTaken: another process listens there.
    """
    config.check()
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return await (_serve_alone(config, stop) if config.store == SQLITE else serve_replicated(config, stop))


async def _serve_alone(config: RegistryConfig, stop: Stop) -> int:
    async with AsyncExitStack() as stack:
        stack.enter_context(_sole_owner(config.data_dir))
        store = SqliteStore(config.data_dir / "registry.db")
        stack.push_async_callback(store.close)
        budget = Budget(config.memory_budget, config.max_loaded)
        registry = await opened(store, lease_ttl_s=config.lease_ttl, keep_warm_s=config.keep_warm, budget=budget)
        servicer, collector, _ = await served(registry, config)
        gates = []
        if config.auth == "keys":
            await ensure_admin_key(registry.keyring, config.data_dir)
            gates = [key_gate(registry.keyring)]
        health = Health()
        server = build(CallInterceptor(gates), [(SERVICE, servicer)], extra={HEALTH: health.handler()})
        await stack.enter_async_context(_serving(server, health, registry.hub.close, config, stop))
        await stack.enter_async_context(ticking(registry))
        if config.gc_interval:
            background(stack, collector.run(config.gc_interval), log)
        await stop.requested.wait()
        log.info("draining")
    return 0


@contextmanager
def _sole_owner(data_dir: Path) -> Iterator[None]:
    """Hold the folder: two registries on one store would each believe to be the only one."""
    descriptor = os.open(data_dir / "registry.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another registry uses {data_dir}; stop it, or give another --data-dir") from None
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def _serving(
    server: grpc.aio.Server, health: Health, close: Callable[[Exception], None], config: RegistryConfig, stop: Stop
) -> AsyncIterator[None]:
    """Listen, say so, and at the end let what goes on finish."""
    try:
        address = bound(server, config)
        await server.start()
        health.update({"": True, SERVICE.full_name: True})
        log.info("the registry listens on %s", address)
        tell_parent(ready="registry", address=address)
        yield
    finally:
        health.drain()
        close(Draining("the registry is stopping; connect again"))
        await unless_forced(stop, server.stop(GRACE_S), GRACE_S + 1)
