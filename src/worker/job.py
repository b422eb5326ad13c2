"""One request inside the worker, from its arrays to its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable, Sequence

from ..errors import PenstockError, SlowConsumer
from ..tensors import Array

Outputs = Sequence[Array]
"""One array for each output of the signature, of shape [rows, ...]."""

MAX_UNREAD_ANSWERS = 64


class Job:
    """Made by the servicer, queued by the batcher, answered by the instance. Owned by the event loop."""

    __slots__ = (
        "_future",
        "abandoned",
        "arrived",
        "batch_rows",
        "batched",
        "compute_s",
        "deadline",
        "inputs",
        "key",
        "queue_s",
        "rows",
    )

    def __init__(
        self, inputs: Sequence[Array], rows: int, key: Hashable, deadline: float, *, batched: bool = True
    ) -> None:
        loop = asyncio.get_running_loop()
        self.inputs = inputs
        """One array for each input of the signature."""
        self.rows = rows
        self.batched = batched
        """The first dimension of every array is the rows."""
        self.key = key
        """Jobs of equal keys can run together."""
        self.deadline = deadline
        """In the event loop's time."""
        self.arrived = loop.time()
        self.abandoned = False
        """Nobody waits for the answer any longer."""
        self.queue_s = 0.0
        self.compute_s = 0.0
        self.batch_rows = 0
        self._future: asyncio.Future[Outputs] = loop.create_future()

    def begin(self, now: float, batch_rows: int) -> None:
        """It leaves the queue."""
        self.queue_s = now - self.arrived
        self.batch_rows = batch_rows

    def deliver(self, outputs: Outputs) -> None:
        """An answer is there."""
        if not self._future.done():
            self._future.set_result(outputs)

    def finish(self) -> None:
        """There are no more answers."""

    def fail(self, error: PenstockError) -> None:
        """There is no answer, or no further one."""
        if not self._future.done():
            self._future.set_exception(error)
            self._future.exception()  # taken: the caller may be gone, and asyncio would complain of nobody looking

    async def answer(self) -> Outputs:
        """Wait for the one answer.

        Raises:
            PenstockError: why there is none.
        """
        return await self._future


class StreamJob(Job):
    """A job that is answered many times. Its buffer is bounded: a slow reader does not hold up its batch mates."""

    __slots__ = ("_answers", "_ended")

    def __init__(
        self, inputs: Sequence[Array], rows: int, key: Hashable, deadline: float, *, batched: bool = True
    ) -> None:
        super().__init__(inputs, rows, key, deadline, batched=batched)
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

    def finish(self) -> None:
        """End the stream after what is queued."""
        self._end(None)

    def fail(self, error: PenstockError) -> None:
        """End the stream with an error after what is queued."""
        self._end(error)

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
