"""What the system says of other processes: descriptors, shared memory, sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def held(pid: int) -> tuple[int, int]:
    """How many descriptors a process has open, and how many pieces of Penstock's shared memory mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return len(list(_descriptors(pid))), maps.count("/memfd:penstock")


def socket_files(pid: int) -> list[Path]:
    """The files in the folder in which a worker listens."""
    inodes = _sockets(pid)
    rows = [row.split() for row in Path("/proc/net/unix").read_text().splitlines()[1:]]
    paths = {Path(row[7]) for row in rows if len(row) > 7 and row[6] in inodes and row[7].endswith(".sock")}
    (folder,) = {path.parent for path in paths}
    return sorted(folder.iterdir())


def connections(pid: int, port: int) -> set[str]:
    """The TCP connections to a port that a server has, by the sockets."""
    rows = (row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:])
    established = {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}
    return established & _sockets(pid)


def _descriptors(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield os.readlink(entry)
        except FileNotFoundError:
            continue  # closed meanwhile


def _sockets(pid: int) -> set[str]:
    return {target[8:-1] for target in _descriptors(pid) if target.startswith("socket:[")}
