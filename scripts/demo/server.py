"""A running `penstock up`, as the demo and other scripts need it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_READY = re.compile(r"READY grpc=(\S+) http=(\S+)")
_STOP_TIMEOUT = 60


@dataclass(frozen=True)
class Server:
    """Where it is."""

    grpc: str
    http: str
    log: Path

    def command(self, *arguments: str) -> dict[str, object]:
        """Run a `penstock` command against it; returns what it prints as JSON. Raises if it fails."""
        line = [sys.executable, "-m", "penstock", *arguments, "--address", self.grpc, "--output", "json"]
        answer: dict[str, object] = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)
        return answer


@contextmanager
def running(data_dir: Path, ports: Sequence[int] = (0, 0, 0)) -> Iterator[Server]:
    """Start `penstock up` and stop it again with SIGTERM.

    Args:
        data_dir: kept afterwards.
        ports: gRPC, HTTP and registry; 0 is any.

    Raises:
        RuntimeError: it did not start, or did not stop with status 0.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "up.log"
    flags = [f"--{name}-port={port}" for name, port in zip(("grpc", "http", "registry"), ports, strict=True)]
    with log.open("w") as stderr:
        line = [sys.executable, "-m", "penstock", "up", f"--data-dir={data_dir}", *flags]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=stderr, text=True, env=dict(os.environ))
    assert process.stdout is not None
    try:
        found = next((match for row in process.stdout if (match := _READY.match(row))), None)
        if found is None:
            raise RuntimeError(f"penstock up did not start:\n{log.read_text()[-2000:]}")
        yield Server(found[1], found[2], log)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(_STOP_TIMEOUT)
        process.stdout.close()
    if status != 0:
        raise RuntimeError(f"penstock up ended with status {status}:\n{log.read_text()[-2000:]}")


def is_free(port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
