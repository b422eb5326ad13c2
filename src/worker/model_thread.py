"""The thread on which a model is loaded and run: all of a servable's methods are called from it, and from no other.

Beside it a second one, for models that answer later: it waits for answers, so that the first can start the next batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


log = logging.getLogger("penstock.worker")

Work = Callable[[], None]


class ModelThread:
    """Runs functions one after another. Made and used by the event loop; a thread that hangs does not stop the exit."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._waits: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._has_waiter = False
        threading.Thread(target=_serve, args=(self._work,), name="model", daemon=True).start()

    def run(self, work: Work) -> None:
        """Have the thread do something; it must not raise."""
        self._work.put(work)

    def wait(self, work: Work) -> None:
        """From the thread: have the second one do something; it must not raise."""
        if not self._has_waiter:
            self._has_waiter = True
            threading.Thread(target=_serve, args=(self._waits,), name="answers", daemon=True).start()
        self._waits.put(work)

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function and wait for what it returns or raises. Cancelling this leaves it running."""
        done: asyncio.Future[T] = self._loop.create_future()

        def work() -> None:
            try:
                result = function()
            except BaseException as error:
                self.tell(_settle, done, None, error)
            else:
                self.tell(_settle, done, result, None)

        self._work.put(work)
        return await done

    def tell(self, function: Callable[..., object], *args: object) -> None:
        """From either thread: have the event loop call this soon. Once the loop is closed nobody wants to know."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def soon(self, function: Callable[..., object], *args: object) -> None:
        """From the event loop: have it call this soon."""
        self._loop.call_soon(function, *args)

    def close(self) -> None:
        """End both threads after what is queued."""
        self._work.put(None)
        self._waits.put(None)


def _serve(waiting: queue.SimpleQueue[Work | None]) -> None:
    while (work := waiting.get()) is not None:
        try:
            work()
        except BaseException:  # nothing may end the thread: what comes after would wait for ever
            log.exception("the model's thread met a bug")
        del work  # it holds a batch


def _settle(done: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
        done.exception()  # taken: the caller may be gone
