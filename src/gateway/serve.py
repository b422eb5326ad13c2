"""The life of a gateway. The only file of the gateway that knows all of its parts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from penstock.v1 import model_status_pb2, predict_pb2
from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from ..rpc.access_log import AccessLog
from ..rpc.call import Concern, Gate
from ..rpc.channel import MAX_MESSAGE_BYTES
from ..rpc.health import HEALTH
from ..rpc.interceptor import CallInterceptor
from ..rpc.lifecycle import Stop, background, tell_parent, unless_forced
from ..rpc.memory import settle
from ..rpc.ports import listen, require_courage
from ..rpc.registries import Registries
from ..rpc.server import bind, build
from ..rpc.tracing import traced
from ..telemetry import TraceConfig, default_random, make_tracer
from .admission import Admission, AdmissionLimits
from .balancer import Balancer
from .comparer import Comparer
from .directory import Directory
from .figures import Figures
from .forward import SERVICE as CONTROL
from .forward import forwarder
from .health import ModelHealth
from .holdback import HoldBack
from .http import HttpServer, make_app
from .proxy import Deadlines, Proxy
from .refusals import Key, Outlook
from .reporting import Reporter
from .resolver import Resolver
from .routing import is_expected, is_on_demand, why_unavailable
from .rules import authentication
from .shadows import Shadows
from .status import StatusServicer
from .subchannel import Subchannel
from .traffic import Traffic
from .use_reporter import UseReporter

PREDICT = predict_pb2.DESCRIPTOR.services_by_name["PredictService"]
STATUS = model_status_pb2.DESCRIPTOR.services_by_name["ModelStatusService"]

log = logging.getLogger("penstock.gateway")


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """One gateway process."""

    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    share_port: bool = False
    """Several gateway processes serve the same ports on purpose."""
    registry: str = "127.0.0.1:8010"
    """Several with commas between them: any of them answers."""
    data_dir: Path = Path(".penstock")
    """For the last snapshot of the registry and the access log."""
    auth: str = "off"
    """`off`: everybody may do everything (loopback only). `keys`: API keys."""
    api_key: str = ""
    """For the registry."""
    insecure: bool = False
    """Bind to a public address without TLS all the same."""
    balancer: str = "late_binding"
    """A name in picker.POLICIES."""
    carrier: str = "auto"
    """How workers are reached: `unix` (on this host, with shared memory), `grpc`, or `auto`, the best there is."""
    access_log: str = "file"
    """`file` (DATA/logs/access.jsonl), `off`, or a path; of one process only, since it rotates."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    limits: AdmissionLimits = field(default_factory=AdmissionLimits)
    deadlines: Deadlines = field(default_factory=Deadlines)
    trace: TraceConfig = field(default_factory=TraceConfig)
    lame_duck: float = 1.0
    """Seconds between NOT_SERVING and the refusal of new calls."""
    grace: float = 20.0
    """Seconds for calls in flight when the gateway stops."""


async def serve(config: GatewayConfig, stop: Stop) -> int:
    """Bind, follow the registry, serve until `stop`, drain. Returns the exit status.

    Raises:
        PortTaken: a port is in use. PublicBind: a public address without protection.
    """
    require_courage(config.host, config.insecure, "--host")
    async with AsyncExitStack() as stack:
        directory = Directory()
        outlook = Outlook(
            lambda key: is_expected(directory.routes, *key),
            lambda key: why_unavailable(directory.routes, *key),
            lambda key: is_on_demand(directory.routes, *key),
            lambda key: uses.ask_for(key),
        )
        balancer = Balancer(config.balancer, Random(), outlook, partial(Subchannel, carrier=config.carrier))
        stack.push_async_callback(balancer.close)
        registries = Registries(config.registry)
        stack.push_async_callback(registries.close)
        uses = UseReporter(
            _report_use(registries, config.api_key),
            lambda: (lane for lane in balancer.lanes() if is_on_demand(directory.routes, *lane.key)),
        )
        holdback = HoldBack(
            lambda worker: balancer.answers((worker.name, worker.version), worker.worker_id),
            lambda worker: balancer.drains((worker.name, worker.version), worker.worker_id),
        )
        snapshot = config.data_dir / "registry-snapshot.pb"
        resolver = Resolver(registries, directory, holdback, config.api_key, snapshot, Random())
        directory.listen(lambda _changed: balancer.update(directory.endpoints()))
        resolver.load_snapshot()

        services = [PREDICT.full_name, STATUS.full_name]
        health = ModelHealth(directory, balancer, services)
        admission, figures, comparer = Admission(config.limits), Figures(), Comparer()
        traffic = _traffic(directory, balancer, admission, figures, comparer)
        proxy = Proxy(directory, balancer, admission, config.deadlines, traffic)
        gates: list[Gate] = [authentication(directory)] if config.auth == "keys" else []
        server = build(
            CallInterceptor(gates, _concerns(config, stack)),
            [(PREDICT, proxy), (STATUS, StatusServicer(directory, balancer.carrier))],
            reflect=True,
            max_message_bytes=config.max_message_bytes,
            share_port=config.share_port,
            extra={HEALTH: health.table.handler(), CONTROL.full_name: forwarder(registries, config.api_key)},
        )
        port = bind(server, f"{config.host}:{config.grpc_port}", "--grpc-port")
        listener = listen(config.host, config.http_port, "--http-port", share=config.share_port)
        http = HttpServer(make_app(lambda: _why_not_ready(directory, stop)), listener)
        stack.push_async_callback(http.stop)

        background(stack, resolver.run(), log)
        background(stack, _follow(balancer, health), log)
        background(stack, uses.run(), log)
        background(stack, Reporter(registries, figures, config.api_key).run(), log)
        background(stack, comparer.run(), log)
        health.refresh()
        await server.start()
        settle()
        http_port = listener.getsockname()[1]
        tell_parent(ready="gateway", grpc=f"{config.host}:{port}", http=f"{config.host}:{http_port}")
        await stop.requested.wait()

        # Say so first, go on for a moment, then refuse: clients that watch health lose nothing.
        health.table.drain()
        await unless_forced(stop, asyncio.sleep(config.lame_duck), config.lame_duck + 1)
        await unless_forced(stop, server.stop(config.grace), config.grace + 1)
        await server.stop(0)
    return 0


def _traffic(
    directory: Directory, balancer: Balancer, admission: Admission, figures: Figures, comparer: Comparer
) -> Traffic:
    """What becomes of requests whose alias has a split, a shadow or a canary."""

    def is_single(key: Key) -> bool:
        return key[1] in directory.routes[key[0]].single

    shadows = Shadows(balancer.lane, figures, comparer, is_single, admission.is_busy)
    return Traffic(directory.routes, figures, shadows, asyncio.get_running_loop().time)


def _concerns(config: GatewayConfig, stack: AsyncExitStack) -> list[Concern]:
    """Outermost first."""
    concerns: list[Concern] = []
    if config.access_log != "off":
        path = config.data_dir / "logs" / "access.jsonl" if config.access_log == "file" else Path(config.access_log)
        access_log = AccessLog(path)
        stack.callback(access_log.close)
        concerns.append(access_log)
    tracer = make_tracer(config.trace, "penstock-gateway")
    if tracer is not None:
        concerns.append(traced(tracer, config.trace.ratio, default_random()))
    return concerns


def _report_use(registries: Registries, api_key: str) -> Callable[[pb.ReportUseRequest], Awaitable[object]]:
    """ReportUse of the present registry, with as much patience as its repetition needs."""
    metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
    return lambda request: RegistryServiceStub(registries.channel).ReportUse(request, timeout=2.0, metadata=metadata)


async def _follow(balancer: Balancer, health: ModelHealth) -> None:
    """Health follows every change of the directory and of the connections."""
    while True:
        await balancer.changed()
        health.refresh()


def _why_not_ready(directory: Directory, stop: Stop) -> str:
    if stop.requested.is_set():
        return "draining"
    return "" if directory.known else "the registry has not been reached yet"
