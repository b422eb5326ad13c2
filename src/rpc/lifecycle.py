"""The life of a process: logging, signals, telling the parent that it is ready, dying with the parent."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from .memory import keep_freed_memory

READY_FD = "PENSTOCK_READY_FD"
"""The environment variable with the descriptor on which a child says that it is ready."""
_PR_SET_PDEATHSIG = 1

EXIT_LOAD_FAILED = 3
"""A worker's model does not load. These statuses are how a worker tells its supervisor why it ended."""
EXIT_NO_TORCH = 5
"""torch is not installed where a worker should run."""
EXIT_DEVICE_FAILED = 70
"""A worker's device is beyond repair."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record; fields given as `extra` under known names are in it."""
        line: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key in ("request_id", "worker_id"):
            if hasattr(record, key):
                line[key] = getattr(record, key)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logging(process: str, level: str = "INFO") -> None:
    """Log to stderr: readable on a terminal, JSON lines elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler.setFormatter(
            logging.Formatter(f"%(asctime)s {process} %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
        )
    else:
        handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def die_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent is gone: nothing outlives a killed supervisor (Linux only)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGTERM)


def tell_parent(**facts: object) -> None:
    """Say once, to a parent that listens, that this process is ready and where."""
    descriptor = os.environ.pop(READY_FD, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "w") as parent:
            parent.write(json.dumps(facts) + "\n")


class Stop:
    """What SIGTERM and Ctrl-C ask for: the first time to drain, the second time to end at once."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()

    def listen(self) -> None:
        """Take the signals of this process; to be called in its event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request)

    def request(self) -> None:
        """What a signal does."""
        (self.forced if self.requested.is_set() else self.requested).set()


def run(main: Callable[[Stop], Coroutine[Any, Any, int | None]]) -> int:
    """Run a server's main coroutine until it is done, on uvloop where there is one; returns the exit status."""
    keep_freed_memory()

    async def body() -> int:
        stop = Stop()
        stop.listen()
        return await main(stop) or 0

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(body())


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """None: the usual one, where there is no uvloop."""
    try:
        from .loop import new_loop
    except ImportError:
        return None
    return new_loop


async def unless_forced(stop: Stop, work: Coroutine[Any, Any, Any], grace: float) -> bool:
    """Let `work` go on for `grace` seconds at most, and less after a second signal; False if it was cut off."""
    task = asyncio.ensure_future(work)
    forced = asyncio.ensure_future(stop.forced.wait())
    done, _ = await asyncio.wait({task, forced}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
    forced.cancel()
    task.cancel()
    await asyncio.gather(task, forced, return_exceptions=True)
    return task in done


def background(stack: AsyncExitStack, work: Coroutine[Any, Any, None], log: logging.Logger) -> None:
    """Run until the stack is left; a mistake in it is logged, not swallowed."""

    def look(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("a background task ended", exc_info=task.exception())

    task = asyncio.create_task(work)
    task.add_done_callback(look)
    stack.callback(task.cancel)
