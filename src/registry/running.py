"""What every registry does while it runs, alone or as one of several."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from ..rpc.server import bind
from ..signing import read_trust
from .artifacts import Artifacts
from .audited_servicer import AuditedServicer
from .collector import Collector
from .config import RegistryConfig
from .origins import Origins
from .registry import Registry
from .servicer import RegistryServicer
from .urls import read_allowed

TICK_S = 1.0
GRACE_S = 2.0

log = logging.getLogger("penstock.registry")


def bound(server: grpc.aio.Server, config: RegistryConfig) -> str:
    """Bind a server; where it listens. Raises PortTaken."""
    return _at(config.host, bind(server, _at(config.host, config.port), "--registry-port"))


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def served(registry: Registry, config: RegistryConfig) -> tuple[AuditedServicer, Collector, Artifacts]:
    """What answers, what removes files that nothing needs (the caller has it run), and the files.

    Raises:
        ValueError: a URL or the file of trusted keys cannot be used.
    """
    artifacts = await asyncio.to_thread(Artifacts, config.data_dir / "artifacts", config.limits)
    collector = Collector(registry, artifacts, config.gc_grace, config.upload_keep)
    origins = Origins(read_allowed(config.artifact_urls), config.url_timeout)
    trust = await asyncio.to_thread(read_trust, config.signatures, config.trusted_keys)
    servicer = RegistryServicer(registry, artifacts, collector, origins, trust)
    return AuditedServicer(servicer, registry), collector, artifacts


@asynccontextmanager
async def ticking(registry: Registry) -> AsyncIterator[None]:
    """Have the registry do what time brings about, for the length of a block."""
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
