"""A real `penstock up` for the length of a `with` block: for tests, demos and benchmarks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_READY = re.compile(r"READY grpc=(\S+) http=(\S+)")
_STOP_TIMEOUT = 60
ANY_PORTS = (0, 0, 0)


class CommandFailed(Exception):
    """A `penstock` command ended with another status than 0."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"status {status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Server:
    """A running `penstock up`."""

    grpc: str
    http: str
    pid: int
    data_dir: Path

    def command(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Any:
        """Run a `penstock` command against it, and return what it prints as JSON.

        Raises:
            CommandFailed: with the status and what stood on stderr.
        """
        line = [sys.executable, "-m", "penstock", *arguments, "--address", self.grpc, "--output", "json"]
        done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **(environment or {})})
        if done.returncode:
            raise CommandFailed(done.returncode, done.stderr)
        return json.loads(done.stdout)

    def log(self) -> str:
        """What it and its children have written to stderr."""
        return (self.data_dir / "up.log").read_text()

    def children(self, name: str) -> list[int]:
        """The processes of its children that run the subcommand `name`: `registry`, `gateway` or `worker`."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (OSError, ValueError):
                continue  # it has ended
            if parent == self.pid and name.encode() in words:
                found.append(int(entry.name))
        return sorted(found)


@contextmanager
def running(data_dir: Path, *flags: str, ports: Sequence[int] = ANY_PORTS) -> Iterator[Server]:
    """Start `penstock up`, and stop it again with SIGTERM unless it has ended already.

    Args:
        data_dir: its data directory; kept afterwards, with `up.log` in it.
        flags: more flags for `penstock up`.
        ports: gRPC, HTTP and registry; 0 is any.

    Raises:
        RuntimeError: it did not start, or did not end with status 0.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "up.log"
    named = [f"--{name}-port={port}" for name, port in zip(("grpc", "http", "registry"), ports, strict=True)]
    line = [sys.executable, "-m", "penstock", "up", f"--data-dir={data_dir}", *named, *flags]
    with log.open("a") as stderr:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    try:
        found = next((match for row in process.stdout if (match := _READY.match(row))), None)
        if found is None:
            raise RuntimeError(f"penstock up did not start:\n{log.read_text()[-2000:]}")
        yield Server(found[1], found[2], process.pid, data_dir)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        status = process.wait(_STOP_TIMEOUT)
        process.stdout.close()
    if status != 0:
        raise RuntimeError(f"penstock up ended with status {status}:\n{log.read_text()[-2000:]}")
