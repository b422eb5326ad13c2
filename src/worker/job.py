"""One request inside the worker, from its arrays to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from typing import ClassVar

from ..errors import PenstockError, SlowConsumer
from ..lanes import order_of
from ..tensors import Array

Outputs = Sequence[Array]
"""One array for each output of the signature, of shape [rows, ...]."""

Outcome = Outputs | bytes | PenstockError | None
"""A job's outputs, what its `encode` made of them, why there are none, or None: they were delivered already."""

MAX_UNREAD_ANSWERS = 64


class Job:
    """Made by the intake, queued by the engine, run by the executor. Owned by the event loop.

    Args:
        inputs: one array for each input of the signature; views over the request's bytes.
        rows: how many it adds to a batch, at least 1.
        key: only jobs of equal keys run together.
        deadline: in the event loop's time; infinite: none.
        batched: the first dimension of every array is the rows.
        priority: the lane: 0 is normal, positive sooner, negative later.
        suspect: it may have killed a worker, and runs in a batch of its own.
        size: bytes that it holds while it waits, for the bound of the queue.
        arrived: in the event loop's time; None: now.
        encode: turns the outputs into what `encoded` is to be. Pure, and called on any thread.
        on_settled: called once on the event loop, when there is an outcome; not once the job is abandoned.
    """

    __slots__ = (
        "abandoned",
        "arrived",
        "batch_rows",
        "batched",
        "compute_s",
        "deadline",
        "encode",
        "encoded",
        "error",
        "inputs",
        "key",
        "on_settled",
        "order",
        "outputs",
        "pieces",
        "queue_s",
        "rows",
        "settled",
        "size",
        "slot",
        "started",
        "suspect",
    )

    streams: ClassVar[bool] = False
    """It is answered many times, as it runs."""

    def __init__(
        self,
        inputs: Sequence[Array],
        rows: int,
        key: Hashable,
        deadline: float,
        *,
        batched: bool = True,
        priority: int = 0,
        suspect: bool = False,
        size: int = 0,
        arrived: float | None = None,
        encode: Callable[[Outputs], bytes] | None = None,
        on_settled: Callable[[Job], None] | None = None,
    ) -> None:
        self.inputs = inputs
        """Empty once its rows are in the executor's row store, and once there is an outcome."""
        self.rows, self.key, self.deadline, self.batched = rows, key, deadline, batched
        self.suspect, self.size, self.encode, self.on_settled = suspect, size, encode, on_settled
        self.arrived = asyncio.get_running_loop().time() if arrived is None else arrived
        self.order = order_of(self.arrived, deadline, priority)
        """Smaller leaves the queue sooner."""
        self.slot: int | None = None
        """Its first row in the row store, if its rows have been written there. The executor's."""
        self.pieces: Sequence[Job] = ()
        """What the engine made of a job of more rows than a batch has."""
        self.started = False
        """It was handed to the device."""
        self.abandoned = False
        """Nobody waits for the answer any longer."""
        self.settled = False
        """There is an outcome."""
        self.outputs: Outputs | None = None
        self.encoded: bytes | None = None
        """The answer as `encode` made it; then `outputs` is None."""
        self.error: PenstockError | None = None
        self.queue_s = 0.0
        self.compute_s = 0.0
        self.batch_rows = 0

    def begin(self, now: float, batch_rows: int) -> None:
        """It leaves the queue for the device."""
        self.started = True
        self.queue_s = now - self.arrived
        self.batch_rows = batch_rows

    def settle(self, outcome: Outcome) -> None:
        """Give it its outcome, and tell who waits; only the first one counts."""
        if self.settled:
            return
        self.settled = True
        self.inputs = ()
        if isinstance(outcome, PenstockError):
            self.error = outcome
        elif isinstance(outcome, bytes):
            self.encoded = outcome
        else:
            self.outputs = outcome
        told, self.on_settled = self.on_settled, None  # it holds who waits, who may hold the job
        if told is not None and not self.abandoned:
            told(self)


class StreamJob(Job):
    """A job that is answered many times. Its buffer is bounded: a slow reader does not hold up its batch mates."""

    __slots__ = ("_answers", "_ended")

    streams = True

    def __init__(
        self,
        inputs: Sequence[Array],
        rows: int,
        key: Hashable,
        deadline: float,
        *,
        batched: bool = True,
        priority: int = 0,
        suspect: bool = False,
        size: int = 0,
        arrived: float | None = None,
    ) -> None:
        super().__init__(
            inputs,
            rows,
            key,
            deadline,
            batched=batched,
            priority=priority,
            suspect=suspect,
            size=size,
            arrived=arrived,
        )
        self._answers: asyncio.Queue[Outputs | PenstockError | None] = asyncio.Queue(MAX_UNREAD_ANSWERS + 1)
        self._ended = False

    def deliver(self, outputs: Outputs) -> None:
        """Queue an answer; a full buffer ends the stream."""
        if self._ended:
            return
        if self._answers.qsize() < MAX_UNREAD_ANSWERS:
            self._answers.put_nowait(outputs)
        else:
            self.abandoned = True
            text = f"{MAX_UNREAD_ANSWERS} answers were not read in time; read faster, or ask for fewer"
            self._end(SlowConsumer(text))

    def settle(self, outcome: Outcome) -> None:
        """End the stream after what is queued: with an error, or without one."""
        super().settle(outcome)
        self._end(self.error)

    def _end(self, last: PenstockError | None) -> None:
        """A stream ends once; there is always room for its end."""
        if not self._ended:
            self._ended = True
            self._answers.put_nowait(last)

    async def answers(self) -> AsyncGenerator[Outputs, None]:
        """The answers as they come."""
        while (item := await self._answers.get()) is not None:
            if isinstance(item, PenstockError):
                raise item
            yield item
