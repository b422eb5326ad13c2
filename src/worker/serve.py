"""The life of a worker, from its assignment to its exit."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import AsyncExitStack

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import PenstockError
from ..rpc.lifecycle import EXIT_DEVICE_FAILED, EXIT_LOAD_FAILED, Stop
from ..rpc.ports import require_courage
from .device import use_threads
from .loading import make_ready
from .model_thread import ModelThread
from .registry_client import RegistryClient
from .serving import Serving, unless_stopped
from .worker_config import WorkerConfig

SWITCH_INTERVAL = 5e-5
"""Seconds. With Python's 5 ms the model's thread waits up to 11 ms for the interpreter after each device call."""

log = logging.getLogger("penstock.worker")


async def serve(config: WorkerConfig, stop: Stop) -> int:
    """Fetch, load, warm up, prove, take a lease, serve until `stop`, drain. Returns the exit status.

    Raises:
        PublicBind: others could reach it, and that was not asked for.
    """
    if not config.listen.startswith("unix:"):
        require_courage(config.listen.rpartition(":")[0], config.insecure, "--listen")
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
            ready = await unless_stopped(stop, make_ready(config, registry, record, thread, fatal, stack))
        except Exception as error:
            return await _load_failed(registry, record, error)
        if ready is not None:
            await Serving(config, stop, registry, record, ready).run(stack)
        return EXIT_DEVICE_FAILED if fatal.happened else 0


class _Fatal:
    """The device is lost: nothing more can be answered here; the supervisor starts another process."""

    def __init__(self, stop: Stop) -> None:
        self.happened = False
        self._stop = stop

    def __call__(self) -> None:
        self.happened = True
        self._stop.requested.set()
        self._stop.forced.set()


async def _load_failed(registry: RegistryClient, record: pb.WorkerRecord, error: Exception) -> int:
    """Tell whoever publishes why, and end. Only they see it: callers learn that the load failed, not how."""
    ours = isinstance(error, PenstockError)  # such an error says itself what is wrong; what caused it may say more
    reason = error.message if isinstance(error, PenstockError) else f"{type(error).__name__}: {error}"
    cause = error.__cause__ if ours else error
    log.error("cannot load %s version %d: %s", record.name, record.version, reason, exc_info=cause)
    record.state = model_pb2.MODEL_STATE_END
    await registry.report_load(record, reason[:400] or type(error).__name__)
    return EXIT_LOAD_FAILED
