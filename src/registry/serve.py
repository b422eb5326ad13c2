"""The registry's process: wires store, registry and server, and takes them down in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from ..errors import Draining
from ..rpc.health import HEALTH, Health
from ..rpc.interceptor import CallInterceptor
from ..rpc.lifecycle import Stop, background, tell_parent, unless_forced
from ..rpc.ports import is_loopback
from ..rpc.server import bind, build
from ..signing import read_trust
from .artifacts import Artifacts
from .collector import GRACE_S as GC_GRACE_S
from .collector import INTERVAL_S, KEEP_S, Collector
from .gate import ensure_admin_key, key_gate
from .leases import TTL_S
from .limits import DEFAULT_LIMITS, Limits
from .origins import Origins
from .origins.origins import LIMIT_S
from .placement import KEEP_WARM_S
from .registry import Registry, opened
from .servicer import SERVICE, RegistryServicer
from .stores.sqlite import SqliteStore
from .urls import read_allowed

TICK_S = 1.0
GRACE_S = 2.0

log = logging.getLogger("penstock.registry")


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """What a registry is told at start."""

    data_dir: Path
    """Made with mode 0700 if it is not there: registry.db, artifacts/, and with keys admin.key."""
    host: str = "127.0.0.1"
    port: int = 8010
    """0: any that is free."""
    auth: str = "off"
    """`off`: everybody may do everything. `keys`: API keys with the scope `admin` may."""
    lease_ttl: float = TTL_S
    """Seconds."""
    keep_warm: float = KEEP_WARM_S
    """Seconds for which a version stays loaded after the last alias has left it."""
    limits: Limits = DEFAULT_LIMITS
    """How much the store may hold."""
    gc_grace: float = GC_GRACE_S
    """Seconds for which a file stays that no version needs."""
    gc_interval: float = INTERVAL_S
    """Seconds between two collections of such files; 0: none without `penstock gc`."""
    upload_keep: float = KEEP_S
    """Seconds for which an upload that broke off may go on."""
    artifact_urls: str = ""
    """URLs below which versions may be fetched, separated by spaces; empty: none."""
    url_timeout: float = LIMIT_S
    """Seconds that fetching one version may take."""
    signatures: str = "off"
    """See `signing.Trust`."""
    trusted_keys: str = ""
    """A file with the public keys that count, in PEM."""
    insecure: bool = False
    """Listen on an address that others can reach, though nothing is encrypted."""

    def check(self) -> None:
        """Raise ValueError, saying how to mend it, if the registry cannot be run like this."""
        if self.auth not in ("off", "keys"):
            raise ValueError(f"unknown --auth {self.auth!r}; known are off, keys")
        if not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"others can reach {self.host}, and the registry's port is not encrypted: "
                "listen on 127.0.0.1, or give --insecure if the network itself is safe"
            )
        if self.lease_ttl <= 0 or self.keep_warm < 0:
            raise ValueError("the lease's TTL must be above 0 s, and keep-warm not below")


async def serve(config: RegistryConfig, stop: Stop) -> int:
    """Run a registry until it is asked to stop; the exit status.

    Raises:
        ValueError: the configuration is not usable, or the data folder is in use or of a newer release.
        PortTaken: another process listens there.
    """
    config.check()
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        stack.enter_context(_sole_owner(config.data_dir))
        store = SqliteStore(config.data_dir / "registry.db")
        stack.push_async_callback(store.close)
        artifacts = await asyncio.to_thread(Artifacts, config.data_dir / "artifacts", config.limits)
        registry = await opened(store, lease_ttl_s=config.lease_ttl, keep_warm_s=config.keep_warm)
        origins = Origins(read_allowed(config.artifact_urls), config.url_timeout)
        trust = await asyncio.to_thread(read_trust, config.signatures, config.trusted_keys)
        collector = Collector(registry, artifacts, config.gc_grace, config.upload_keep)
        gates = []
        if config.auth == "keys":
            await ensure_admin_key(registry.keyring, config.data_dir)
            gates = [key_gate(registry.keyring)]
        health = Health()
        services = [(SERVICE, RegistryServicer(registry, artifacts, collector, origins, trust))]
        server = build(CallInterceptor(gates), services, extra={HEALTH: health.handler()})
        await stack.enter_async_context(_serving(server, health, registry, config, stop))
        await stack.enter_async_context(_ticking(registry))
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
    server: grpc.aio.Server, health: Health, registry: Registry, config: RegistryConfig, stop: Stop
) -> AsyncIterator[None]:
    """Listen, say so, and at the end let what goes on finish."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        port = bind(server, f"{host}:{config.port}", "--registry-port")
        await server.start()
        health.update({"": True, SERVICE.full_name: True})
        log.info("the registry listens on %s:%d", host, port)
        tell_parent(ready="registry", address=f"{host}:{port}")
        yield
    finally:
        health.drain()
        registry.hub.close(Draining("the registry is stopping; connect again"))
        await unless_forced(stop, server.stop(GRACE_S), GRACE_S + 1)


@asynccontextmanager
async def _ticking(registry: Registry) -> AsyncIterator[None]:
    task = asyncio.create_task(_tick(registry))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _tick(registry: Registry) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        try:
            await registry.tick()
        except Exception:  # the next one may go well; without any, no lease would ever end
            log.exception("a tick failed")
