"""One child process: start it, hear that it is ready, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..rpc.lifecycle import READY_FD


class Child:
    """A process of its own; spawned, never forked. Made by `start`."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, ready: asyncio.Task[dict[str, Any] | None]
    ) -> None:
        self.name = name
        self._process = process
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
        read, write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *program,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=sys.stderr,
                pass_fds=(write,),
                env={**os.environ, **environment, READY_FD: str(write)},
                start_new_session=True,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        return cls(name, process, asyncio.create_task(_read_line(read)))

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
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it has ended: `wait` says so
            self._process.stdin.write(json.dumps(facts).encode() + b"\n")
            await self._process.stdin.drain()

    async def ready(self) -> dict[str, Any] | None:
        """Wait until it says that it is ready, and where; None if it ends before."""
        return await asyncio.shield(self._ready)

    async def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        status = await self._process.wait()
        await self.ready()
        return status

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
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor))
    try:
        line = await reader.readline()
        return json.loads(line) if line.endswith(b"\n") else None
    finally:
        transport.close()
