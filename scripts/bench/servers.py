"""The Penstock that is measured: a real `penstock up` with the settings of a row, and a model with its workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import penstock
from penstock.testing import Server, running

LOADING_S = 120.0


@dataclass(frozen=True, slots=True)
class Service:
    """A published model, ready to answer."""

    name: str
    address: str
    server: Server
    workers: tuple[int, ...]

    @property
    def gateways(self) -> tuple[int, ...]:
        """Process ids."""
        return tuple(self.server.children("gateway"))


@contextmanager
def up(folder: Path, **settings: str | int | bool) -> Iterator[Server]:
    """A server with settings as `penstock.toml` has them; what is not said is the default."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "penstock.toml"
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    with running(folder / "data", "--config", str(config)) as server:
        yield server


def publish(server: Server, name: str, source: str, batch: int = 0, instances: int = 1) -> Service:
    """Publish a model and wait for all of its workers.

    Args:
        server: where.
        name: the model's.
        source: `file.py:Class`.
        batch: rows that run together; 0: the default.
        instances: how many workers.
    """
    more = ["--max-batch-size", str(batch)] if batch else []
    server.command("publish", name, source, "--instances", str(instances), *more)
    with penstock.Client(server.grpc) as client:
        for change in client.watch_status(name, timeout=LOADING_S):
            for version in (version for model in change.models for version in model.versions):
                ready = [one.pid for one in version.instances if one.state == "AVAILABLE"]
                if len(ready) == instances:
                    return Service(name, server.grpc, server, tuple(ready))
    raise AssertionError("a watch does not end by itself")


def retire(service: Service) -> None:
    """Unload a model, so that its workers do not disturb the next."""
    service.server.command("undeploy", service.name)
