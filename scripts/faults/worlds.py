"""The processes: one registry over SQLite, or two over an etcd of three members; a gateway and two workers."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from penstock.testing import Part, Parts, parts
from penstock.testing.etcd import Etcd, etcd

WORKERS = 2
SCALE = """
from penstock import Servable, TensorSpec

class Scale(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 4])}
    outputs = {"y": TensorSpec("FP32", ["batch", 4])}

    def predict(self, x):
        return {"y": x * 2}
"""


class Alone:
    """One registry over SQLite."""

    def __init__(self, made: Parts, disk: Path) -> None:
        self.parts = made
        self.disk = disk
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()
        self.gateway = _serve(made, f"127.0.0.1:{self.port}")

    def start(self) -> None:
        """Start the registry."""
        flags = f"--data-dir={self.disk / 'registry'}", f"--registry-port={self.port}"
        self.registry = self.parts.start("registry", *flags)

    def exchange(self, away: Path, back: Path | None) -> None:
        """Start the registry with other data: none, or those that were put away before."""
        self.registry.kill()
        away.mkdir()
        for path in (self.disk / "registry").glob("registry.db*"):
            shutil.move(path, away / path.name)
        for path in back.iterdir() if back else ():
            shutil.move(path, self.disk / "registry" / path.name)
        self.start()

    def fill(self) -> None:
        """Use up the disk."""
        with suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        """Make room again."""
        (self.disk / "filler").unlink()


class Several:
    """Two registries over an etcd of three members."""

    def __init__(self, made: Parts, members: Etcd) -> None:
        self.parts = made
        self.etcd = members
        self.registries = [self._start() for _ in range(2)]
        self.gateway = _serve(made, ",".join(registry.address for registry in self.registries))

    def _start(self, port: int = 0) -> Part:
        flags = (
            f"--data-dir={self.parts.folder / 'registry'}",
            f"--registry-port={port}",
            f"--store={self.etcd.url()}",
        )
        return self.parts.start("registry", *flags)

    def leader(self) -> Part:
        """The registry that leads."""
        leads = self.etcd.value("/penstock/leader")
        return next(registry for registry in self.registries if registry.address == leads)

    def replace(self, dead: Part) -> None:
        """Start another one at a dead registry's address."""
        self.registries[self.registries.index(dead)] = self._start(int(dead.address.rpartition(":")[2]))


def _serve(made: Parts, registries: str) -> str:
    """Start a gateway and the workers; where the gateway answers once both workers do."""
    to, ports = f"--registry={registries}", ("--grpc-port=0", "--http-port=0")
    gateway = made.start("gateway", f"--data-dir={made.folder / 'gateway'}", to, *ports).address
    source = made.folder / "scale.py"
    source.write_text(SCALE)
    made.command(gateway, "publish", "scale", f"{source}:Scale", "--no-wait")
    for number in range(WORKERS):
        made.start("worker", "--name=scale", "--version=1", f"--data-dir={made.folder / f'worker-{number}'}", to)
    while len(made.command(gateway, "status", "scale")[0]["versions"][0]["instances"]) < WORKERS:
        time.sleep(0.1)
    return gateway


@contextmanager
def alone(folder: Path) -> Iterator[Alone]:
    """On a disk of 32 MB where the user may mount one, else in the folder."""
    disk = folder / "disk"
    disk.mkdir(parents=True)
    line = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)]
    mounted = subprocess.run(line, capture_output=True).returncode == 0
    try:
        with parts(folder / "parts") as made:
            yield Alone(made, disk)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(disk)], check=True)


@contextmanager
def several(folder: Path) -> Iterator[Several]:
    """With three members of etcd."""
    with etcd(folder / "etcd", members=3) as members, parts(folder / "parts") as made:
        yield Several(made, members)
