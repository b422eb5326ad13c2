"""The life of a worker, from its assignment to its exit. The only file of the worker that knows all of its parts."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc.aio

from penstock.v1 import model_pb2, worker_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import PenstockError
from ..rpc.interceptor import CallInterceptor
from ..rpc.lifecycle import Stop, tell_parent, unless_forced
from ..rpc.server import bind, build
from .batch_queue import BatchPolicy
from .batcher import Batcher
from .device import resolve_device, use_threads
from .fetch import fetch
from .instance import Instance
from .lease import Lease
from .loaded import Loaded, load
from .registry_client import RegistryClient
from .servicer import WorkerServicer
from .warmup import prove, warm_up

EXIT_LOAD_FAILED = 3
EXIT_DEVICE_FAILED = 70
SWITCH_INTERVAL = 5e-5
"""Seconds. With Python's 5 ms the model's thread waits up to 11 ms for the interpreter after each device call."""

log = logging.getLogger("penstock.worker")


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What one worker is to hold, and where it is reached."""

    name: str
    version: int
    worker_id: str
    listen: str
    """`unix:PATH`, or `HOST:PORT` for gateways on other hosts."""
    cache_dir: Path
    """Where the files of versions are kept between starts; shared by the workers of a host."""
    registry: str = "127.0.0.1:8010"
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`. `auto` is a GPU where torch finds one."""
    index: int = 0
    """Which of the version's instances this is; spreads `auto` over the GPUs."""
    threads: int = 0
    """For torch's own parallelism on CPU; 0: half of the cores."""
    api_key: str = ""
    """For the registry."""
    lame_duck: float = 1.0
    """Seconds between the announcement of a drain and the refusal of new requests."""
    grace: float = 20.0
    """Seconds for what is queued when the worker stops."""


async def serve(config: WorkerConfig, stop: Stop) -> int:
    """Fetch, load, warm up, prove, take a lease, serve until `stop`, drain. Returns the exit status."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    use_threads(config.threads)
    async with AsyncExitStack() as stack:
        registry = RegistryClient(config.registry, config.api_key)
        stack.push_async_callback(registry.close)
        record = pb.WorkerRecord(
            worker_id=config.worker_id,
            name=config.name,
            version=config.version,
            device=resolve_device(config.device, config.index),
            pid=os.getpid(),
            state=model_pb2.MODEL_STATE_LOADING,
        )
        try:
            ready = await _unless_stopped(stop, _load(config, registry, record))
        except Exception as error:
            return await _load_failed(registry, record, error)
        if ready is None:
            return 0
        loaded, policy = ready
        return await _Serving(config, stop, registry, record, loaded, policy).run(stack)


async def _unless_stopped(stop: Stop, work: Awaitable[tuple[Loaded, BatchPolicy]]) -> tuple[Loaded, BatchPolicy] | None:
    """A stop abandons a load that is under way."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.requested.wait())
    done, _ = await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task in done:
        return task.result()
    task.cancel()
    return None


async def _load(config: WorkerConfig, registry: RegistryClient, record: pb.WorkerRecord) -> tuple[Loaded, BatchPolicy]:
    async def stage(name: str, progress: float) -> None:
        record.stage, record.progress = name, progress
        await registry.report_load(record)

    version = await registry.version(config.name, config.version)
    await stage("fetching", 0.0)
    folder = await fetch(registry, version.manifest, config.cache_dir, lambda done: None)
    await stage("loading", 0.3)
    manifest = version.manifest
    loaded = await asyncio.to_thread(load, manifest.format, folder, manifest.entry, record.device)
    await stage("warming up", 0.6)
    return loaded, _policy(manifest.batching, loaded)


def _policy(published: model_pb2.BatchPolicy, loaded: Loaded) -> BatchPolicy:
    """As published, within what the model itself allows."""
    default = BatchPolicy()
    rows = published.max_batch_size or default.max_batch_size
    return BatchPolicy(
        max_batch_size=min(rows, loaded.max_rows or rows) if loaded.signature.batch else 1,
        max_queue_delay=published.max_queue_delay.ToMilliseconds() / 1000,
        max_queue_size=published.max_queue_size or max(default.max_queue_size, 4 * rows),
    )


async def _load_failed(registry: RegistryClient, record: pb.WorkerRecord, error: Exception) -> int:
    """Tell whoever publishes why, and end. Only they see it: callers learn that the load failed, not how."""
    log.error("cannot load %s version %d", record.name, record.version, exc_info=error)
    reason = error.message if isinstance(error, PenstockError) else f"{type(error).__name__}: {error}"
    record.state = model_pb2.MODEL_STATE_END
    await registry.report_load(record, reason[:400] or type(error).__name__)
    return EXIT_LOAD_FAILED


class _Serving:
    """From the loaded model to the exit."""

    def __init__(
        self,
        config: WorkerConfig,
        stop: Stop,
        registry: RegistryClient,
        record: pb.WorkerRecord,
        loaded: Loaded,
        policy: BatchPolicy,
    ) -> None:
        self._config, self._stop, self._registry, self._record = config, stop, registry, record
        self._loaded, self._policy = loaded, policy
        self._device_failed = False
        self._instance = Instance(loaded, record.device, self._on_fatal)
        self._batcher = Batcher(self._instance.run, policy)
        self._servicer = WorkerServicer(
            config.name,
            config.version,
            config.worker_id,
            loaded.signature,
            self._batcher,
            generator=bool(loaded.stream),
        )

    async def run(self, stack: AsyncExitStack) -> int:
        stack.callback(self._instance.close)
        try:
            await warm_up(self._instance, self._loaded, self._policy.max_batch_size)
            self._record.stage, self._record.progress = "proving", 0.9
            await self._registry.report_load(self._record)
            await prove(self._instance, self._loaded)
        except PenstockError as error:
            return await _load_failed(self._registry, self._record, error)
        gc.collect()
        gc.freeze()  # what is loaded stays: later collections need not look at it
        batching = asyncio.create_task(self._batcher.serve())
        stack.callback(batching.cancel)
        server = build(CallInterceptor(), [(worker_pb2.DESCRIPTOR.services_by_name["WorkerService"], self._servicer)])
        port = bind(server, self._config.listen, "--listen")
        await server.start()
        lease = await self._take_lease(port)
        keeping = asyncio.create_task(lease.keep())
        stack.callback(keeping.cancel)
        await self._stop.requested.wait()
        await self._drain(server, lease)
        return EXIT_DEVICE_FAILED if self._device_failed else 0

    async def _take_lease(self, port: int) -> Lease:
        listen = self._config.listen
        self._record.address = listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"
        self._record.state = model_pb2.MODEL_STATE_AVAILABLE
        self._record.max_batch_size = self._policy.max_batch_size
        self._record.stage, self._record.progress = "", 1.0
        lease = Lease(
            self._registry,
            self._record,
            self._loaded.signature,
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
        self._servicer.epoch = epoch

    def _on_fatal(self) -> None:
        """The device is lost: nothing more can be answered here; the supervisor starts another process."""
        self._device_failed = True
        self._stop.requested.set()
        self._stop.forced.set()

    def _report(self) -> pb.LoadReport:
        done = self._instance.counters
        return pb.LoadReport(
            queued_rows=self._batcher.queued_rows, rows=done.rows, batches=done.batches, failures=done.failures
        )

    async def _drain(self, server: grpc.aio.Server, lease: Lease) -> None:
        """In the order that loses nothing: say so, go on, refuse the new, finish the old, give the lease back."""
        await lease.announce_drain()
        await unless_forced(self._stop, asyncio.sleep(self._config.lame_duck), self._config.lame_duck + 1)
        self._batcher.refuse_new()
        finished = await unless_forced(self._stop, self._batcher.drained(), self._config.grace)
        if not finished:
            log.warning("%d queued rows are given up", self._batcher.queued_rows)
        await server.stop(0.5 if finished else 0)
        await self._registry.revoke(self._config.worker_id)
