"""From a manifest to a model that has answered once: fetch, load, warm up, prove, and say how it goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import Unavailable
from ..optimization import Optimization
from ..rpc.backoff import Backoff
from ..rpc.messages import optimized_to_message
from ..servable import Padding
from .by_length import ByLength
from .compiled.cache import FOLDER as COMPILED
from .device import resolve_device
from .engine import BatchPolicy, ServiceTimes
from .examples import read_examples
from .executor import Executor
from .fetch import fetch
from .holding import Hold, remove_unused
from .loaded import Loaded, load
from .model_thread import ModelThread
from .provenance import check_signed, trust_of
from .registry_client import RegistryClient
from .trial import Place, optimized
from .warmup import prove, prove_golden, warm_up
from .worker_config import WorkerConfig

log = logging.getLogger("penstock.worker")
T = TypeVar("T")

_FETCHED = 0.3
"""How much of the loading is done when the files are here."""
_OPTIMIZATIONS = {int(known) for known in Optimization} - {int(Optimization.NONE)}
_SAY_AGAIN = 60.0
"""Seconds."""
_STEP = 0.05
"""Progress is told in steps, not with every piece of a file."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A model that has answered once."""

    manifest: model_pb2.Manifest
    loaded: Loaded
    policy: BatchPolicy
    executor: Executor
    times: ServiceTimes
    """What was learned while it warmed up."""
    join: ByLength | None
    """Which requests make a batch, where they are filled up to one length."""


class _Stages:
    """Tells the registry what the worker is doing."""

    def __init__(self, registry: RegistryClient, record: pb.WorkerRecord) -> None:
        self._registry, self._record = registry, record
        self._telling: asyncio.Task[None] | None = None

    async def enter(self, name: str, progress: float) -> None:
        if self._telling is not None:
            await self._telling  # in order: an earlier stage must not be heard after a later one
        await self._tell(name, progress)

    async def _tell(self, name: str, progress: float) -> None:
        self._record.stage, self._record.progress = name, progress
        await self._registry.report_load(self._record)

    async def meanwhile(self, work: Awaitable[T]) -> T:
        """Say again from time to time what is being done: a load of which nothing is heard counts as dead."""
        telling = asyncio.create_task(self._repeat())
        try:
            return await work
        finally:
            telling.cancel()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_SAY_AGAIN)
            await self._tell(self._record.stage, self._record.progress)

    def fetched(self, share: float) -> None:
        """Told while files come; never holds them up."""
        busy = self._telling is not None and not self._telling.done()
        if not busy and share * _FETCHED >= self._record.progress + _STEP:
            self._telling = asyncio.ensure_future(self._tell("fetching", share * _FETCHED))


async def make_ready(
    config: WorkerConfig,
    registry: RegistryClient,
    record: pb.WorkerRecord,
    thread: ModelThread,
    on_fatal: Callable[[], None],
    held: AsyncExitStack,
) -> Ready:
    """Do everything that comes before the lease.

    Args:
        config: which version, and where.
        registry: has the manifest and the files, and is told how it goes.
        record: what the registry is told; its device, stage and progress are filled in here.
        thread: the model's own.
        on_fatal: called when the device is lost.
        held: left when the worker ends; as long as it is not, the version's files stay on this host.

    Raises:
        PenstockError: why the version cannot be served; loaders may raise anything else too.
    """
    stages = _Stages(registry, record)
    record.device = resolve_device(config.device, config.index)
    trust = await asyncio.to_thread(trust_of, config)
    manifest = await _manifest(config, registry)
    await stages.enter("fetching", 0.0)
    held.callback((await asyncio.to_thread(Hold, config.cache_dir, manifest.name, str(manifest.version))).close)
    await asyncio.to_thread(remove_unused, config.cache_dir, config.cache_keep, config.max_cache_bytes)
    with await fetch(registry, manifest, config.cache_dir, stages.fetched) as files:
        await asyncio.to_thread(check_signed, trust, config, manifest, files)
        await stages.enter("loading", _FETCHED)
        loaded = await thread.call(lambda: load(manifest.format, files.folder, manifest.entry, record.device))
        loaded = loaded.padded(_padding(manifest.batching) or loaded.padding)
        signature = loaded.signature
        examples = await asyncio.to_thread(lambda: read_examples(files.folder, manifest.examples, signature))
        policy, times = _policy(manifest.batching, loaded), ServiceTimes()
        most = policy.max_batch_size
        if manifest.optimization in _OPTIMIZATIONS:
            await stages.enter("optimizing", 0.4)
            place = Place(record.device, most, thread, on_fatal, config.cache_dir / COMPILED)
            trial = optimized(loaded, Optimization(manifest.optimization), examples, place)
            loaded, found = await stages.meanwhile(trial)
            record.optimized.CopyFrom(optimized_to_message(found))
        files.check()
    loaded = replace(loaded, faster={})  # what could be compiled is not needed any more
    # On the thread, since to pin memory takes a while.
    executor = await thread.call(
        lambda: Executor(loaded, record.device, most, thread, on_fatal, expected=times.predict)
    )
    await stages.enter("warming up", 0.6)
    await warm_up(executor, loaded, most, times, samples=examples.samples)
    await stages.enter("proving", 0.9)
    await prove(executor, loaded, examples.samples)
    if examples.golden is not None:
        await prove_golden(executor, loaded, examples.golden, examples.tolerance, most)
    return Ready(manifest, loaded, policy, executor, times, ByLength(loaded.layout) if loaded.layout else None)


async def _manifest(config: WorkerConfig, registry: RegistryClient) -> model_pb2.Manifest:
    """Of the version; a registry that is away is waited for: to fail would look as if the model did not load."""
    backoff = Backoff(Random())
    while True:
        try:
            return (await registry.version(config.name, config.version)).manifest
        except Unavailable as error:
            log.warning("waiting for the registry: %s", error)
            await registry.pause(backoff.next())


def _padding(published: model_pb2.BatchPolicy) -> Padding | None:
    """What the publisher asks for; it goes before what the servable says."""
    if not published.HasField("padding"):
        return None
    said = published.padding
    return Padding(said.value, dict(said.masks), tuple(said.buckets), said.max_pad_fraction)


def _policy(published: model_pb2.BatchPolicy, loaded: Loaded) -> BatchPolicy:
    """As published, within what the model itself allows."""
    default = BatchPolicy()
    rows = published.max_batch_size or loaded.default_rows or default.max_batch_size
    return BatchPolicy(
        max_batch_size=min(rows, loaded.max_rows or rows) if loaded.signature.batch else 1,
        max_queue_delay=published.max_queue_delay.ToMicroseconds() / 1e6,
        max_queue_size=published.max_queue_size or max(default.max_queue_size, 4 * rows),
    )
