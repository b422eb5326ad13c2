"""Where gateways on the same host exchange frames with a worker: beside the gRPC socket, or in a folder of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_MOST_BYTES = 107
"""What the kernel takes as the path of a unix socket."""


@contextmanager
def local_socket(listen: str) -> Iterator[str]:
    """A path for the socket; if it needs a folder of its own, that is open to this user only and goes with the block.

    Args:
        listen: where the worker's gRPC server listens, `unix:PATH` or `HOST:PORT`.
    """
    beside = f"{listen.removeprefix('unix:')}.x"
    if listen.startswith("unix:") and len(os.fsencode(beside)) <= _MOST_BYTES:
        yield beside
        return
    folder = tempfile.mkdtemp(prefix="penstock-")
    try:
        yield f"{folder}/x"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
