"""The life of a worker, from its assignment to its exit. The only file of the worker that knows all of its parts."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

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
from .model_thread import ModelThread
from .registry_client import RegistryClient
from .servicer import WorkerServicer
from .warmup import prove, warm_up

EXIT_LOAD_FAILED = 3
EXIT_DEVICE_FAILED = 70
SWITCH_INTERVAL = 5e-5
"""Seconds. With Python's 5 ms the model's thread waits up to 11 ms for the interpreter after each device call."""
_REGISTRY_PATIENCE = 2.0
"""Seconds for the registry to hear of a drain."""

log = logging.getLogger("penstock.worker")

T = TypeVar("T")


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
        thread = ModelThread()
        stack.callback(thread.close)
        record = pb.WorkerRecord(
            worker_id=config.worker_id,
            name=config.name,
            version=config.version,
            pid=os.getpid(),
            state=model_pb2.MODEL_STATE_LOADING,
        )
        fatal = _Fatal(stop)
        try:
            ready = await _unless_stopped(stop, _load(config, registry, record, thread, fatal))
        except Exception as error:
            return await _load_failed(registry, record, error)
        if ready is not None:
            await _Serving(config, stop, registry, record, ready).run(stack)
        return EXIT_DEVICE_FAILED if fatal.happened else 0


async def _unless_stopped(stop: Stop, work: Coroutine[Any, Any, T]) -> T | None:
    """A stop abandons what is under way; then this is None."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.requested.wait())
    done, _ = await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task in done:
        return task.result()
    task.cancel()
    await asyncio.wait({task}, timeout=1.0)
    return None


class _Fatal:
    """The device is lost: nothing more can be answered here; the supervisor starts another process."""

    def __init__(self, stop: Stop) -> None:
        self.happened = False
        self._stop = stop

    def __call__(self) -> None:
        self.happened = True
        self._stop.requested.set()
        self._stop.forced.set()


@dataclass(frozen=True, slots=True)
class _Ready:
    """A model that has answered once."""

    loaded: Loaded
    policy: BatchPolicy
    instance: Instance


async def _load(
    config: WorkerConfig, registry: RegistryClient, record: pb.WorkerRecord, thread: ModelThread, fatal: _Fatal
) -> _Ready:
    async def stage(name: str, progress: float) -> None:
        record.stage, record.progress = name, progress
        await registry.report_load(record)

    record.device = resolve_device(config.device, config.index)
    manifest = (await registry.version(config.name, config.version)).manifest
    await stage("fetching", 0.0)
    folder = await fetch(registry, manifest, config.cache_dir, lambda done: None)
    await stage("loading", 0.3)
    loaded = await thread.call(lambda: load(manifest.format, folder, manifest.entry, record.device))
    policy, instance = _policy(manifest.batching, loaded), Instance(loaded, record.device, fatal, thread)
    await stage("warming up", 0.6)
    await warm_up(instance, loaded, policy.max_batch_size)
    await stage("proving", 0.9)
    await prove(instance, loaded)
    return _Ready(loaded, policy, instance)


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
        self, config: WorkerConfig, stop: Stop, registry: RegistryClient, record: pb.WorkerRecord, ready: _Ready
    ) -> None:
        self._config, self._stop, self._registry, self._record = config, stop, registry, record
        self._signature, self._policy, self._instance = ready.loaded.signature, ready.policy, ready.instance
        self._batcher = Batcher(ready.instance.run, ready.policy)
        self._servicer = WorkerServicer(
            config.name,
            config.version,
            config.worker_id,
            self._signature,
            self._batcher,
            generator=bool(ready.loaded.stream),
        )

    async def run(self, stack: AsyncExitStack) -> None:
        gc.collect()
        gc.freeze()  # what is loaded stays: later collections need not look at it
        batching = asyncio.create_task(self._batcher.serve())
        stack.callback(batching.cancel)
        server = build(CallInterceptor(), [(worker_pb2.DESCRIPTOR.services_by_name["WorkerService"], self._servicer)])
        port = bind(server, self._config.listen, "--listen")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        lease = await _unless_stopped(self._stop, self._take_lease(port))
        if lease is None:
            return
        keeping = asyncio.create_task(lease.keep())
        stack.callback(keeping.cancel)
        await self._stop.requested.wait()
        await self._drain(server, lease)

    async def _take_lease(self, port: int) -> Lease:
        listen = self._config.listen
        self._record.address = listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"
        self._record.state = model_pb2.MODEL_STATE_AVAILABLE
        self._record.max_batch_size = self._policy.max_batch_size
        self._record.stage, self._record.progress = "", 1.0
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
        self._servicer.epoch = epoch

    def _report(self) -> pb.LoadReport:
        done = self._instance.counters
        return pb.LoadReport(
            queued_rows=self._batcher.queued_rows,
            rows=done.rows,
            batches=done.batches,
            failures=done.failures + self._batcher.failures,
        )

    async def _drain(self, server: grpc.aio.Server, lease: Lease) -> None:
        """In the order that loses nothing: say so, go on, refuse the new, finish the old, give the lease back."""
        await unless_forced(self._stop, lease.announce_drain(), _REGISTRY_PATIENCE)
        await unless_forced(self._stop, asyncio.sleep(self._config.lame_duck), self._config.lame_duck + 1)
        self._batcher.refuse_new()
        if not await unless_forced(self._stop, self._batcher.drained(), self._config.grace):
            log.warning("%d queued rows are given up", self._batcher.queued_rows)
            self._batcher.give_up()
        await server.stop(0.5)
        await self._registry.revoke(self._config.worker_id)
