"""Whether a request costs a gateway more where there are more models, more workers, or more that wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from penstock.v1 import registry_pb2 as pb

from ..bench import Bench, Cost, Target, requests
from ..fake_workers import MODEL, fake_workers
from ..figure import Figure, Must
from ..lone_gateway import lone_gateway, snapshot
from ..models import Device, write_echo
from ..servers import publish, up
from .saturation import device

MODELS, FLEET, WAITING = 1000, 64, 1000
MUST = 1.10
SLOW_ENOUGH = Device(0.010, 0.0005, 32)
"""1,230 rows/s: the device is the limit, not the processor."""


def models(bench: Bench) -> Iterator[Figure]:
    """One worker, one model asked; beside it none, or 999 others."""
    with bench.scene() as folder, ExitStack() as stack:
        server = stack.enter_context(up(folder / "up"))
        publish(server, MODEL, f"{write_echo(folder)}:Small")
        state = snapshot(server, 1)
        many = pb.WatchResponse()
        many.CopyFrom(state)
        for number in range(MODELS - 1):
            many.models.add().CopyFrom(state.models[0])
            many.models[-1].name = f"model-{number}"
        few = stack.enter_context(lone_gateway(folder / "few", state))
        full = stack.enter_context(lone_gateway(folder / "many", many))
        targets = [_target("1 model", *few), _target(f"{MODELS} models", *full)]
        yield _figure(f"gateway CPU/request, 1 -> {MODELS} models", list(bench.costs(targets, 32).values()), "unary")


def fleet(bench: Bench) -> Iterator[Figure]:
    """Workers that answer at once."""
    with bench.scene() as folder, ExitStack() as stack:
        targets = []
        for count in (1, FLEET):
            state = stack.enter_context(fake_workers(folder / f"{count}", count))
            gateway = stack.enter_context(lone_gateway(folder / f"gateway-{count}", state))
            targets.append(_target(f"{count} workers", *gateway))
        note = "unary, 128 in flight, fake workers over unix sockets"
        yield _figure(f"gateway CPU/request, 1 -> {FLEET} workers", list(bench.costs(targets, 128).values()), note)


def waiting(bench: Bench) -> Iterator[Figure]:
    """A device that is always busy; what it has to do is there, or 1,000 requests more."""
    with bench.scene() as folder, device(folder, SLOW_ENOUGH) as (service, _):
        costs: list[Cost] = []
        busy = 2 * SLOW_ENOUGH.batch
        gateway = Target(
            "waiting", service.address, requests(service.name, 1, 16), {"gateway": service.gateways}, lane="stream"
        )
        for in_flight in (busy, busy + WAITING):
            costs += bench.costs([gateway], in_flight).values()
        note = f"PredictStream; {busy} and {busy + WAITING} in flight before a device of 1,230 rows/s"
        yield _figure(f"gateway CPU/request, 0 -> {WAITING} waiting", costs, note)


def _target(label: str, address: str, pid: int) -> Target:
    return Target(label, address, requests(MODEL, 1, 16), {"gateway": [pid]})


def _figure(name: str, costs: list[Cost], note: str) -> Figure:
    few, many = costs
    raw = {"few": few.raw(), "many": many.raw()}
    return Figure(name, many.total_us, few.total_us, "us", Must.AT_MOST, MUST, note, raw)
