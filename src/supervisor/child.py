"""One child process: start it, hear that it is ready, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..rpc.lifecycle import READY_FD


class Child:
    """A process of its own; spawned, never forked. Made by `start`."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, stdin: int, ready: asyncio.Task[dict[str, Any] | None]
    ) -> None:
        self.name = name
        self._process = process
        self._stdin = stdin
        self._telling = 0
        self._ready = ready

    @classmethod
    async def start(
        cls,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        program: Sequence[str] = (sys.executable, "-m", "penstock"),
    ) -> Child:
        """Start `python -m penstock ARGUMENTS`. Ctrl-C does not reach it: its parent stops it in order."""
        # Plain pipes: uvloop's own transports of pipes may close a descriptor that is another child's by then.
        read, write = os.pipe()
        stdin, told = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *program,
                *arguments,
                stdin=stdin,
                stdout=sys.stderr,
                pass_fds=(write,),
                env={**os.environ, **environment, READY_FD: str(write)},
                start_new_session=True,
            )
        except BaseException:
            os.close(read)
            os.close(told)
            raise
        finally:
            os.close(write)
            os.close(stdin)
        return cls(name, process, told, asyncio.create_task(_read_line(read)))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    async def tell(self, facts: Mapping[str, object]) -> None:
        """Send one line of JSON to its standard input."""
        if self._stdin < 0:
            return  # it has ended: `wait` says so
        self._telling += 1
        try:
            with contextlib.suppress(BrokenPipeError):
                await _write_all(self._stdin, json.dumps(facts).encode() + b"\n")
        finally:
            self._telling -= 1
            self._close_stdin()

    async def ready(self) -> dict[str, Any] | None:
        """Wait until it says that it is ready, and where; None if it ends before."""
        return await asyncio.shield(self._ready)

    async def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        status = await self._process.wait()
        await self.ready()
        self._close_stdin()
        return status

    def _close_stdin(self) -> None:
        """Once it has ended and nobody tells it anything."""
        if self.exit_status is not None and self._stdin >= 0 and not self._telling:
            os.close(self._stdin)
            self._stdin = -1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self, grace: float) -> int:
        """Ask it to drain; after `grace` seconds ask again, and 2 s later end it. Returns the exit status."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGTERM, 2.0), (signal.SIGKILL, None)):
            if self.exit_status is None:
                self.signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    return await self.wait()
        raise AssertionError("a killed process ends")

    def hurry(self) -> None:
        """Have it give up what is left: another signal than the first, since two equal ones may arrive as one."""
        self.signal(signal.SIGINT)

    def __repr__(self) -> str:
        state = "running" if self.exit_status is None else f"ended with {self.exit_status}"
        return f"<Child {self.name} pid {self.pid} {state}>"


async def _read_line(descriptor: int) -> dict[str, Any] | None:
    """The line that the child writes when it is ready; None if it closes the pipe without a whole one."""
    loop, line = asyncio.get_running_loop(), b""
    try:
        os.set_blocking(descriptor, False)
        while not line.endswith(b"\n"):
            await _possible(descriptor, loop.add_reader, loop.remove_reader)
            part = os.read(descriptor, 65536)
            if not part:
                return None
            line += part
        return json.loads(line)  # type: ignore[no-any-return]
    finally:
        os.close(descriptor)


async def _write_all(descriptor: int, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            await _possible(descriptor, loop.add_writer, loop.remove_writer)


async def _possible(
    descriptor: int, add: Callable[[int, Callable[[], object]], object], remove: Callable[[int], object]
) -> None:
    """Wait until a descriptor can be read, or written."""
    ready = asyncio.Event()
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)
