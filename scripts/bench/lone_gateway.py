"""A gateway without a registry: what it knows was written down for it, as its own last snapshot would be."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.rpc.lifecycle import READY_FD
from penstock.testing import Server
from penstock.v1 import registry_pb2 as pb

SNAPSHOT = "registry-snapshot.pb"
_DIGEST = 32
_PATIENCE_S = 30.0


@contextmanager
def lone_gateway(folder: Path, state: pb.WatchResponse) -> Iterator[tuple[str, int]]:
    """Its gRPC address and its process id."""
    folder.mkdir(parents=True)
    content = state.SerializeToString()
    (folder / SNAPSHOT).write_bytes(hashlib.sha256(content).digest() + content)
    read, write = os.pipe()
    line = [sys.executable, "-m", "penstock", "gateway", f"--data-dir={folder}", "--grpc-port=0", "--http-port=0"]
    with (folder / "gateway.log").open("w") as log:
        process = subprocess.Popen(
            [*line, "--registry=127.0.0.1:1"],  # where nobody listens
            pass_fds=(write,),
            env={**os.environ, READY_FD: str(write)},
            stderr=log,
        )
    os.close(write)
    try:
        with os.fdopen(read) as ready:
            facts = ready.readline()
        if not facts:
            raise RuntimeError(f"the gateway did not start:\n{(folder / 'gateway.log').read_text()[-2000:]}")
        yield json.loads(facts)["grpc"], process.pid
    finally:
        process.terminate()
        process.wait()


def snapshot(server: Server, workers: int) -> pb.WatchResponse:
    """What a server's own gateway has written down, once so many workers are in it."""
    path = server.data_dir / SNAPSHOT
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        state = pb.WatchResponse()
        if path.exists():
            state.ParseFromString(path.read_bytes()[_DIGEST:])
        if sum(worker.epoch > 0 for worker in state.workers) == workers:
            return state
        time.sleep(0.1)
    raise RuntimeError("the gateway has written down no state with a worker in it")
