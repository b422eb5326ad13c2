"""One servable on one device: the model's own thread, and what happens on it to a batch.

The thread joins the jobs' arrays, moves them to the device, runs the model, moves the answers back and cuts them apart;
then it wakes the event loop once per batch. A batch that raises is run again in halves, so that only the requests at
fault fail.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import DeviceOutOfMemory, InvalidInput, ModelError, PenstockError, WorkerLost
from ..signature import DType
from ..tensors import STORAGE, Array
from ..torch_tensors import from_torch, to_torch
from .job import Job, Outputs
from .loaded import Loaded, Value

Outcome = Outputs | PenstockError | None
"""A job's outputs, why there are none, or None: they were delivered already."""

log = logging.getLogger("penstock.worker")


@dataclass(slots=True)
class Counters:
    """Since the worker began. Written by the event loop only."""

    rows: int = 0
    batches: int = 0
    failures: int = 0


class Instance:
    """Runs batches of jobs, one batch at a time. Made and used by the event loop.

    Args:
        loaded: the model; from now on only the instance's thread touches it.
        device: where its inputs go.
        on_fatal: called on the event loop when the device is beyond repair (a sticky CUDA error); the process must end.
    """

    def __init__(self, loaded: Loaded, device: str, on_fatal: Callable[[], None]) -> None:
        self.counters = Counters()
        self._loaded = loaded
        self._device = device
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Sequence[Job], asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="model", daemon=True)
        self._thread.start()

    async def run(self, jobs: Sequence[Job]) -> None:
        """Run a batch; every job has its outcome afterwards. Cancelling this leaves the batch running."""
        now = self._loop.time()
        rows = sum(job.rows for job in jobs)
        for job in jobs:
            job.begin(now, rows)
        done: asyncio.Future[None] = self._loop.create_future()
        self._work.put((jobs, done))
        await asyncio.shield(done)

    def close(self) -> None:
        """End the thread after the batch that it runs."""
        self._work.put(None)

    def _serve(self) -> None:
        with torch.inference_mode():
            while (work := self._work.get()) is not None:
                jobs, done = work
                began = time.perf_counter()
                try:
                    outcomes = self._outcomes(jobs)
                except BaseException as error:  # nothing may end this thread: the jobs would wait for ever
                    outcomes = [_as_model_error(error)] * len(jobs)
                seconds = time.perf_counter() - began
                self._loop.call_soon_threadsafe(self._settle, jobs, outcomes, seconds, done)

    def _settle(
        self, jobs: Sequence[Job], outcomes: Sequence[Outcome], seconds: float, done: asyncio.Future[None]
    ) -> None:
        """On the event loop: give each job its outcome."""
        self.counters.batches += 1
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.compute_s = seconds
            if isinstance(outcome, PenstockError):
                self.counters.failures += 1
                job.fail(outcome)
                if isinstance(outcome, WorkerLost):
                    self._on_fatal()
                continue
            self.counters.rows += job.rows
            if outcome is not None:
                job.deliver(outcome)
            job.finish()
        if not done.done():
            done.set_result(None)

    def _outcomes(self, jobs: Sequence[Job]) -> list[Outcome]:
        """For each job its outputs, why there are none, or None if they were delivered already."""
        try:
            if self._loaded.stream is not None:
                self._stream(jobs)
                return [None] * len(jobs)
            return list(_cut(self._loaded.run(self._join(jobs)), jobs))
        except Exception as error:
            known, retry = _as_model_error(error), len(jobs) > 1 and self._loaded.stream is None
            if retry and isinstance(known, DeviceOutOfMemory):
                known.__cause__ = None  # the traceback holds the batch's tensors
        if isinstance(known, WorkerLost) or not retry:
            return [known] * len(jobs)
        _free_memory(known)
        middle = len(jobs) // 2
        return self._outcomes(jobs[:middle]) + self._outcomes(jobs[middle:])

    def _stream(self, jobs: Sequence[Job]) -> None:
        """Send each answer on as it comes; stop when nobody listens any longer."""
        assert self._loaded.stream is not None
        for answer in self._loaded.stream(self._join(jobs)):
            for job, outputs in zip(jobs, _cut(answer, jobs), strict=True):
                self._loop.call_soon_threadsafe(job.deliver, outputs)
            if all(job.abandoned for job in jobs):
                return

    def _join(self, jobs: Sequence[Job]) -> list[Value]:
        """The inputs of the batch, on the device; filled up to what the model takes at least."""
        missing = self._loaded.min_rows - sum(job.rows for job in jobs) if self._loaded.signature.batch else 0
        values = []
        for index, spec in enumerate(self._loaded.signature.inputs):
            parts = [job.inputs[index] for job in jobs]
            if missing > 0:
                parts.append(np.repeat(parts[-1][-1:], missing, axis=0))
            joined = np.concatenate(parts) if len(parts) > 1 else parts[0]
            values.append(joined if spec.dtype is DType.BYTES else self._to_device(joined, spec.dtype))
        return values

    def _to_device(self, array: Array, dtype: DType) -> torch.Tensor:
        tensor = to_torch(array, dtype)
        return tensor if self._device == "cpu" else tensor.pin_memory().to(self._device, non_blocking=True)


def _cut(values: Sequence[Value], jobs: Sequence[Job]) -> Iterator[Outputs]:
    """Each job's rows of each output. A sole job without a batch dimension gets all."""
    arrays = [_to_host(value) for value in values]
    if len(jobs) == 1 and not jobs[0].batched:
        yield arrays
        return
    rows, at = sum(job.rows for job in jobs), 0
    if any(array.ndim == 0 or len(array) < rows for array in arrays):
        shapes = [list(array.shape) for array in arrays]
        raise ValueError(f"{rows} rows went in, and outputs of shapes {shapes} came out")
    for job in jobs:
        yield [array[at : at + job.rows] for array in arrays]
        at += job.rows


def _to_host(value: Value) -> Array:
    if isinstance(value, torch.Tensor):
        return from_torch(value)[0]
    array = np.asarray(value)
    return array.astype(STORAGE[DType.BYTES]) if array.dtype.kind in "SU" else array


def _as_model_error(error: BaseException) -> PenstockError:
    """What a caller is told; the cause stays in the log."""
    if isinstance(error, InvalidInput):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return DeviceOutOfMemory("the device has not enough memory for this request; send fewer rows")
    if "CUDA error" in str(error):
        log.critical("the CUDA context is broken; this worker ends", exc_info=error)
        return WorkerLost("the device of the worker failed")
    log.error("the model raised", exc_info=error)
    return ModelError("the model raised an error; the worker's log has the cause")


def _free_memory(error: PenstockError) -> None:
    if isinstance(error, DeviceOutOfMemory) and torch.cuda.is_available():
        torch.cuda.empty_cache()
