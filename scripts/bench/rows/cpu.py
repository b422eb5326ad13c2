"""CPU time of the server processes per request, over that of a bare grpc.aio server in the same run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from penstock.testing import Server

from ..bench import Bench, Cost, Target, requests
from ..echo import METHOD, bare_echo
from ..figure import Figure, Must
from ..models import write_echo
from ..servers import Service, publish, up

UNIT = "us"
IN_FLIGHT = (32, 128)


def small(bench: Bench) -> Iterator[Figure]:
    """[1,16] FP32, echoed by the model."""
    with bench.scene() as folder, ExitStack() as stack:
        source = f"{write_echo(folder)}:Small"
        near = publish(stack.enter_context(up(folder / "near")), "small", source)
        far = publish(stack.enter_context(up(folder / "far", carrier="grpc")), "small", source)
        bare = stack.enter_context(bare_echo())
        floor = stack.enter_context(bare_echo(loop="uvloop"))
        bodies = requests("small", 1, 16)
        targets = [
            Target("bare echo", bare[0], bodies, {"echo": [bare[1]]}, METHOD),
            Target("bare echo on uvloop", floor[0], bodies, {"echo": [floor[1]]}, METHOD),
            _target("unary", near, bodies),
            _target("unary, gRPC carrier", far, bodies),
            _target("PredictStream", near, bodies, lane="stream", connections=1),
        ]
        for in_flight in IN_FLIGHT:
            yield from _small_figures(bench.costs(targets, in_flight), in_flight)


def _small_figures(costs: dict[str, Cost], in_flight: int) -> Iterator[Figure]:
    bare = costs["bare echo"]
    asked = {"unary": 1.6, "unary, gRPC carrier": 2.3, "PredictStream": 0.7}
    notes = {
        "unary": "gateway + worker, unix socket between them",
        "unary, gRPC carrier": "gateway + worker, PENSTOCK_CARRIER=grpc",
        "PredictStream": "one stream; what is ready at one time shares a message",
    }
    for label, must in asked.items():
        yield _figure(f"CPU/request, {label}, [1,16], {in_flight} in flight", costs[label], bare, must, notes[label])
    floor = costs["bare echo on uvloop"]
    note = "the floor of one unary call; no Penstock in it"
    yield Figure(
        f"CPU/request, bare grpc.aio on uvloop, {in_flight} in flight",
        floor.total_us,
        bare.total_us,
        UNIT,
        note=note,
        raw={"ours": floor.raw(), "reference": bare.raw()},
    )


def large(bench: Bench) -> Iterator[Figure]:
    """[1,3,224,224] FP32 in, [1,3] out."""
    with bench.scene() as folder, ExitStack() as stack:
        source = f"{write_echo(folder)}:Picture"
        near = publish(stack.enter_context(up(folder / "near")), "picture", source)
        far = publish(stack.enter_context(up(folder / "far", carrier="grpc")), "picture", source)
        address, pid = stack.enter_context(bare_echo(answer_bytes=12))
        bodies = requests("picture", 1, 3, 224, 224)
        targets = [
            Target("bare echo", address, bodies, {"echo": [pid]}, METHOD),
            _target("unary", near, bodies),
            _target("unary, gRPC carrier", far, bodies),
        ]
        costs = bench.costs(targets, 8)
        note = "602 KB in, 12 B out, 8 in flight; unix socket and shared memory"
        yield _figure("CPU/request, [1,3,224,224] in, [1,3] out", costs["unary"], costs["bare echo"], 1.5, note)
        yield _figure("the same, gRPC carrier", costs["unary, gRPC carrier"], costs["bare echo"], 0.0, "")


def _target(
    label: str, service: Service, bodies: tuple[bytes, ...], lane: str = "unary", connections: int = 4
) -> Target:
    processes = {"gateway": _gateways(service.server), "worker": service.workers}
    return Target(label, service.address, bodies, processes, lane=lane, connections=connections)


def _gateways(server: Server) -> tuple[int, ...]:
    return tuple(server.children("gateway"))


def _figure(name: str, ours: Cost, bare: Cost, must: float, note: str) -> Figure:
    kind = Must.AT_MOST if must else Must.NOTHING
    raw = {"ours": ours.raw(), "reference": bare.raw()}
    return Figure(name, ours.total_us, bare.total_us, UNIT, kind, must, note, raw)
