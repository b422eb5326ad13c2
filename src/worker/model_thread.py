"""The thread on which a model is loaded and run: all of a servable's methods are called from it, and from no other."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class ModelThread:
    """Runs functions one after another. Made and used by the event loop; a thread that hangs does not stop the exit."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="model", daemon=True).start()

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function and wait for what it returns or raises. Cancelling this leaves it running."""
        done: asyncio.Future[T] = self._loop.create_future()

        def work() -> None:
            try:
                result = function()
            except BaseException as error:  # nothing may end this thread: what comes after would wait for ever
                self.tell(_settle, done, None, error)
            else:
                self.tell(_settle, done, result, None)

        self._work.put(work)
        return await done

    def tell(self, function: Callable[..., object], *args: object) -> None:
        """From the thread: have the event loop call this soon. Once the loop is closed nobody wants to know."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def close(self) -> None:
        """End the thread after what is queued."""
        self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # it holds a batch


def _settle(done: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
        done.exception()  # taken: the caller may be gone
