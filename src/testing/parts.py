"""Single Penstock processes, each started and ended on its own: for what happens while one of them is away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..rpc.lifecycle import READY_FD
from .server import CommandFailed

_STOP_TIMEOUT = 60


class Part:
    """One process that runs `penstock NAME`. Made by `Parts.start`."""

    def __init__(self, process: subprocess.Popen[bytes], facts: Mapping[str, Any]) -> None:
        self.facts = facts
        """What it said when it was ready: `address`, or `grpc` and `http`."""
        self.pid = process.pid
        self._process = process

    @property
    def address(self) -> str:
        """Where it answers."""
        return str(self.facts.get("grpc") or self.facts["address"])

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def freeze(self) -> None:
        """Stop it as a debugger would; `thaw` lets it go on."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a warning."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Have it drain and end; returns the exit status."""
        if self.runs:
            self.thaw()
            self._process.terminate()
        return self._process.wait(_STOP_TIMEOUT)


class Parts:
    """All of them, with a file `parts.log` for what they write. Made by `parts`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Part] = []

    def start(self, name: str, *flags: str, environment: Mapping[str, str] | None = None) -> Part:
        """Start `penstock NAME FLAGS` and wait until it is ready. It ends with the thread that has started it.

        Raises:
            RuntimeError: it ended before.
        """
        read, write = os.pipe()
        variables = {**os.environ, **(environment or {}), READY_FD: str(write)}
        line = [sys.executable, "-m", "penstock", name, *flags]
        with (self.folder / "parts.log").open("a") as log:
            process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(write,), env=variables
            )
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.readline()
        if not said:
            raise RuntimeError(f"penstock {name} ended with status {process.wait()}:\n{self.log()[-2000:]}")
        self._started.append(Part(process, json.loads(said)))
        return self._started[-1]

    def command(self, address: str, *arguments: str) -> Any:
        """Run a command against a gateway, or a registry, and return what it prints as JSON. Raises CommandFailed."""
        line = [sys.executable, "-m", "penstock", *arguments, "--address", address, "--output", "json"]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode:
            raise CommandFailed(done.returncode, done.stderr)
        return json.loads(done.stdout)

    def log(self) -> str:
        """What all of them have written."""
        return (self.folder / "parts.log").read_text()

    def stop(self) -> None:
        """End what still runs, the last one first."""
        for part in reversed(self._started):
            part.stop()


@contextmanager
def parts(folder: Path) -> Iterator[Parts]:
    """Processes for the length of a block, with their log in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Parts(folder)
    try:
        yield made
    finally:
        made.stop()
