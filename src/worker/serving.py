"""From the loaded model to the exit: take the lease, serve, drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from random import Random
from typing import Any, TypeVar

import grpc.aio

from penstock.v1 import model_pb2, worker_pb2
from penstock.v1 import registry_pb2 as pb

from ..exchange.unix import serve_unix
from ..rpc.interceptor import CallInterceptor
from ..rpc.lifecycle import Stop, tell_parent, unless_forced
from ..rpc.memory import resident_bytes, settle
from ..rpc.server import bind, build
from .engine import Engine
from .fence import Fence
from .intake import Intake
from .lease import Lease
from .loading import Ready
from .local_socket import local_socket
from .registry_client import RegistryClient
from .servicer import WorkerServicer
from .sessions import Sessions
from .stream import ServedStream
from .worker_config import WorkerConfig

_REGISTRY_PATIENCE = 2.0
"""Seconds for the registry to hear of a drain."""
_READ_PATIENCE = 2.0
"""Seconds for gateways to read the last answers."""

log = logging.getLogger("penstock.worker")

T = TypeVar("T")


async def unless_stopped(stop: Stop, work: Coroutine[Any, Any, T]) -> T | None:
    """A stop abandons what is under way; then this is None."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.requested.wait())
    done, _ = await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task in done:
        return task.result()
    task.cancel()
    await asyncio.wait({task}, timeout=1.0)
    return None


class Serving:
    """From the loaded model to the exit."""

    def __init__(
        self, config: WorkerConfig, stop: Stop, registry: RegistryClient, record: pb.WorkerRecord, ready: Ready
    ) -> None:
        self._config, self._stop, self._registry, self._record = config, stop, registry, record
        loaded = ready.loaded
        self._signature, self._policy = loaded.signature, ready.policy
        self._fence = Fence()
        self._engine = Engine(ready.executor, ready.policy, ready.times, ready.join)
        intake = Intake(config.name, config.version, loaded.signature, loaded.grouping(), generator=bool(loaded.stream))
        self._sessions = Sessions(intake, self._engine, self._fence)
        self._servicer = WorkerServicer(config.worker_id, intake, self._engine, self._sessions, self._fence)

    async def run(self, stack: AsyncExitStack) -> None:
        """Serve until the worker is told to stop, and drain. What it starts is ended through `stack`."""
        settle()
        server = build(CallInterceptor(), [(worker_pb2.DESCRIPTOR.services_by_name["WorkerService"], self._servicer)])
        port = bind(server, self._config.listen, "--listen")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        await self._listen_locally(stack)
        lease = await unless_stopped(self._stop, self._take_lease(port))
        if lease is None:
            return
        keeping = asyncio.create_task(lease.keep())
        stack.callback(keeping.cancel)
        await self._stop.requested.wait()
        await self._drain(server, lease)

    async def _listen_locally(self, stack: AsyncExitStack) -> None:
        """For gateways on this host; without it they use gRPC."""
        path = stack.enter_context(local_socket(self._config.listen))
        try:
            server = await serve_unix(path, lambda link: ServedStream(link, self._sessions))
        except OSError as error:
            log.warning("cannot listen on %s, gateways will use gRPC: %s", path, error)
            return
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)
        self._record.local_address = path

    async def _take_lease(self, port: int) -> Lease:
        listen = self._config.listen
        self._record.address = listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"
        self._record.state = model_pb2.MODEL_STATE_AVAILABLE
        self._record.max_batch_size = self._policy.max_batch_size
        self._record.stage, self._record.progress = "", 1.0
        self._record.report.CopyFrom(self._report())
        lease = Lease(
            self._registry,
            self._record,
            self._signature,
            report=self._report,
            on_epoch=self._on_epoch,
            on_drain=self._stop.requested.set,
            random=Random(),
        )
        await lease.take()
        tell_parent(ready="worker", address=self._record.address, epoch=self._record.epoch)
        log.info("serving %s version %d on %s", self._config.name, self._config.version, self._record.device)
        return lease

    def _on_epoch(self, epoch: int) -> None:
        self._fence.epoch = epoch

    def _report(self) -> pb.LoadReport:
        counters = self._engine.counters
        return pb.LoadReport(
            queued_rows=self._engine.queued_rows,
            rows=counters.rows,
            batches=counters.batches,
            failures=counters.failures,
            padded_share=counters.padded_share,
            memory_bytes=resident_bytes(),
        )

    async def _drain(self, server: grpc.aio.Server, lease: Lease) -> None:
        """In the order that loses nothing: say so, go on, refuse the new, finish the old, give the lease back."""
        await unless_forced(self._stop, lease.announce_drain(), _REGISTRY_PATIENCE)
        await unless_forced(self._stop, asyncio.sleep(self._config.lame_duck), self._config.lame_duck + 1)
        self._engine.refuse_new()
        self._sessions.drain()
        if not await unless_forced(self._stop, self._engine.drained(), self._config.grace):
            log.warning("%d queued rows are given up", self._engine.queued_rows)
            self._engine.give_up()
        await unless_forced(self._stop, self._sessions.finished(), _READ_PATIENCE)
        self._sessions.end()
        await server.stop(0.5)
        await self._registry.revoke(self._config.worker_id)
