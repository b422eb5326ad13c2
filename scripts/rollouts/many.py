"""Many models of which few are used: what those that nobody asks for cost the others."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

import penstock
from penstock.testing import Server, running
from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

SOURCE = """
from penstock import Servable, TensorSpec

class Plus(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 4])}
    outputs = {"y": TensorSpec("FP32", ["batch", 4])}

    def predict(self, x):
        return {"y": x + 1}
"""
REQUESTS, ROUNDS = 2000, 5
LOOKS = 50
TICKS = os.sysconf("SC_CLK_TCK")


def many(folder: Path, models: int, loaded: int) -> dict[str, Any]:
    """Lazy models: first only those that are used, then as many as are asked for; figures of both.

    Nothing but the number of registered models differs. The last figures are the ratios of the two.
    """
    before = _figures(folder / "few", loaded, loaded)
    after = _figures(folder / "many", models, loaded)
    ratios = {name: round(after[name] / before[name], 2) for name in before if before[name]}
    ok = after["workers"] == before["workers"] == loaded + 1  # the spare
    return {"few": before, "many": after, "ratios": ratios, "ok": ok}


def _figures(data_dir: Path, models: int, loaded: int) -> dict[str, float]:
    with running(data_dir) as server:
        _register(server, models)
    began = time.monotonic()
    with running(data_dir) as server, penstock.Client(server.grpc, timeout=120) as client:
        ready = time.monotonic() - began
        first = [_seconds(client, f"m{number}") for number in range(loaded)]
        return {
            "models": models,
            "up to READY, s": round(ready, 2),
            "first answer of a model that sleeps, s": round(statistics.median(first), 2),
            "status of one, ms": round(_status_ms(client), 2),
            "CPU per request of gateway and worker, us": round(_cpu_us(server, client), 1),
            "workers": len(server.children("worker")),
            "MB in all workers": round(sum(map(_resident_mb, server.children("worker")))),
            "MB in the gateway": round(_resident_mb(server.children("gateway")[0])),
            "MB in the registry": round(_resident_mb(server.children("registry")[0])),
        }


def _register(server: Server, models: int) -> None:
    """All with the same content, which is stored once."""
    content = SOURCE.encode()
    entry = model_pb2.FileEntry(path="plus.py", size=len(content), sha256=hashlib.sha256(content).hexdigest())

    def upload(name: str) -> Iterator[pb.PublishRequest]:
        policy = pb.ServingPolicy(lazy=True)
        header = pb.PublishHeader(name=name, format="python", entry="plus.py:Plus", files=[entry], policy=policy)
        yield pb.PublishRequest(header=header)
        yield pb.PublishRequest(chunk=content)

    with grpc.insecure_channel(server.grpc) as channel:
        stub = RegistryServiceStub(channel)
        for number in range(models):
            stub.Publish(upload(f"m{number}"))


def _seconds(client: penstock.Client, name: str) -> float:
    began = time.monotonic()
    _ask(client, name)
    return time.monotonic() - began


def _ask(client: penstock.Client, name: str) -> None:
    x = np.ones((1, 4), np.float32)
    assert np.array_equal(client.predict(name, {"x": x})["y"], x + 1)


def _status_ms(client: penstock.Client) -> float:
    times = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        client.status("m0")
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def _cpu_us(server: Server, client: penstock.Client) -> float:
    """Of the gateway and the model's worker, for requests of one caller to one model: the median of a few rounds."""
    [instance] = client.status("m0")[0].versions[0].instances
    pids = [*server.children("gateway"), instance.pid]
    for _ in range(REQUESTS // 5):
        _ask(client, "m0")
    rounds = []
    for _ in range(ROUNDS):
        before = sum(map(_ticks, pids))
        for _ in range(REQUESTS):
            _ask(client, "m0")
        rounds.append((sum(map(_ticks, pids)) - before) / TICKS / REQUESTS * 1e6)
    return statistics.median(rounds)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
