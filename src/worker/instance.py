"""One servable on one device: the model's own thread, and what happens on it to a batch.

The thread joins the jobs' arrays, moves them to the device, runs the model, moves the answers back and cuts them apart;
then it wakes the event loop once per batch. A batch that raises is run again in halves, so that only the requests at
fault fail.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import DeviceOutOfMemory, InvalidInput, ModelError, PenstockError, WorkerLost
from ..signature import DType
from ..tensors import Array
from ..torch_tensors import from_torch, to_torch
from .job import Job, Outputs
from .loaded import Loaded, Value
from .model_thread import ModelThread

Outcome = Outputs | PenstockError | None
"""A job's outputs, why there are none, or None: they were delivered already."""

_MODEL_RAISED = "the model raised an error; the worker's log has the cause"

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
        loaded: the model; from now on only the thread touches it.
        device: where its inputs go.
        on_fatal: called on the event loop when the device is beyond repair (a sticky CUDA error); the process must end.
        thread: the one that loaded the model; its maker closes it.
    """

    def __init__(self, loaded: Loaded, device: str, on_fatal: Callable[[], None], thread: ModelThread) -> None:
        self.counters = Counters()
        self._loaded = loaded
        self._device = device
        self._on_fatal = on_fatal
        self._thread = thread

    async def run(self, jobs: Sequence[Job]) -> None:
        """Run a batch; every job has its outcome afterwards. Cancelling this leaves the batch running, unheard."""
        now = asyncio.get_running_loop().time()
        rows = sum(job.rows for job in jobs)
        for job in jobs:
            job.begin(now, rows)
        self._settle(jobs, *await self._thread.call(lambda: self._timed(jobs)))

    def _timed(self, jobs: Sequence[Job]) -> tuple[Sequence[Outcome], float]:
        """On the thread: the outcomes, and the seconds that they took."""
        began = time.perf_counter()
        try:
            with torch.inference_mode():
                outcomes = self._outcomes(jobs)
        except BaseException as error:  # SystemExit and the like: a model's mistake, too
            outcomes = [_as_model_error(error)] * len(jobs)
        return outcomes, time.perf_counter() - began

    def _settle(self, jobs: Sequence[Job], outcomes: Sequence[Outcome], seconds: float) -> None:
        """On the event loop: give each job its outcome."""
        self.counters.batches += 1
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.compute_s = seconds
            if isinstance(outcome, PenstockError):
                self.counters.failures += 1
                job.fail(outcome)
                continue
            self.counters.rows += job.rows
            if outcome is not None:
                job.deliver(outcome)
            job.finish()
        if any(isinstance(outcome, WorkerLost) for outcome in outcomes):
            self._on_fatal()

    def _outcomes(self, jobs: Sequence[Job]) -> list[Outcome]:
        """For each job its outputs, why there are none, or None if they were delivered already."""
        sent = 0
        try:
            if self._loaded.stream is None:
                return list(self._cut(self._loaded.run(self._join(jobs)), jobs))
            for answer in self._loaded.stream(self._join(jobs)):
                self._send(answer, jobs)
                sent += 1
                if all(job.abandoned for job in jobs):
                    break
            return [None] * len(jobs)
        except Exception as error:
            known = _as_model_error(error)
        # The except block is left by now: its traceback held the batch's tensors.
        if len(jobs) == 1 or isinstance(known, WorkerLost):
            return [known] * len(jobs)
        if sent:  # too late to ask again; and what the error says may be meant for one of them only
            return [ModelError(_MODEL_RAISED)] * len(jobs)
        _free_memory(known)
        middle = len(jobs) // 2
        first = self._outcomes(jobs[:middle])
        if isinstance(first[0], WorkerLost):
            return [first[0]] * len(jobs)
        return first + self._outcomes(jobs[middle:])

    def _send(self, answer: Sequence[Value], jobs: Sequence[Job]) -> None:
        """Hand on one of several answers."""
        for job, outputs in zip(jobs, self._cut(answer, jobs), strict=True):
            self._thread.tell(job.deliver, outputs)

    def _join(self, jobs: Sequence[Job]) -> list[Value]:
        """The inputs of the batch, on the device; filled up to what the model takes at least."""
        missing = self._padded(jobs) - sum(job.rows for job in jobs)
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

    def _padded(self, jobs: Sequence[Job]) -> int:
        """The rows that the model is given."""
        return max(sum(job.rows for job in jobs), self._loaded.min_rows if jobs[0].batched else 1)

    def _cut(self, values: Sequence[Value], jobs: Sequence[Job]) -> Iterator[Outputs]:
        """Each job's rows of each output. A job without a batch dimension is alone and gets all."""
        arrays = [_to_host(value) for value in values]
        if not jobs[0].batched:
            yield arrays
            return
        rows, at = self._padded(jobs), 0
        if any(array.ndim == 0 or len(array) != rows for array in arrays):
            shapes = [list(array.shape) for array in arrays]
            raise ValueError(f"{rows} rows went in, and outputs of shapes {shapes} came out")
        for job in jobs:
            yield [array[at : at + job.rows] for array in arrays]
            at += job.rows


def _to_host(value: Value) -> Array:
    """A copy, since a model may use the same memory for its next answer, while this one is being sent."""
    if isinstance(value, torch.Tensor):
        array = from_torch(value)[0]
        return array.copy() if value.device.type == "cpu" else array
    array = np.array(value)
    return _to_bytes(array) if array.dtype.kind in "SUO" else array


def _to_bytes(array: Array) -> Array:
    """Text as UTF-8. Other objects have no bytes: what gave them is wrong."""
    flat = np.empty(array.size, object)
    flat[:] = [text.encode() if isinstance(text, str) else text for text in array.ravel()]
    for element in flat:
        if not isinstance(element, bytes):
            raise TypeError(f"an output of BYTES must hold bytes or str, not {type(element).__name__}")
    return flat.reshape(array.shape)


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
    return ModelError(_MODEL_RAISED)


def _free_memory(error: PenstockError) -> None:
    if isinstance(error, DeviceOutOfMemory) and torch.cuda.is_available():
        torch.cuda.empty_cache()
