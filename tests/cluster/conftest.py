"""A whole gateway on real sockets, between a registry and workers that do what a test says."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock import errors
from penstock.exchange.grpc_link import serve_grpc
from penstock.exchange.link import Link
from penstock.exchange.unix import UnixServer, serve_unix
from penstock.gateway.directory import Directory
from penstock.gateway.serve import GatewayConfig, serve
from penstock.rpc.access import digest
from penstock.rpc.call import new_call
from penstock.rpc.channel import connect, server_options
from penstock.rpc.errors import DETAILS_KEY, from_rpc_error, to_status, to_trailers
from penstock.rpc.lifecycle import READY_FD, Stop
from penstock.v1 import model_pb2, predict_pb2, registry_pb2_grpc, traffic_pb2, worker_pb2
from penstock.v1 import registry_pb2 as pb

from .exchanging import Exchanging

AVAILABLE, LOADING, END = (
    model_pb2.MODEL_STATE_AVAILABLE,
    model_pb2.MODEL_STATE_LOADING,
    model_pb2.MODEL_STATE_END,
)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
PREDICT = "/penstock.v1.PredictService/Predict"
Behaviour = Callable[[bytes, Any], Awaitable[bytes]]


def model(name: str = "digits", state: int = AVAILABLE, **more: Any) -> pb.ModelRecord:
    manifest = model_pb2.Manifest(name=name, version=1, format="python")
    wanted = int(state != END)
    version = pb.VersionRecord(manifest=manifest, state=state, desired_instances=wanted, **more)  # type: ignore[arg-type]
    return pb.ModelRecord(name=name, versions=[version], aliases={"stable": 1})


def key_record(key: str, name: str, *scopes: str) -> pb.KeyRecord:
    return pb.KeyRecord(key_id=key.split("_")[1], name=name, scopes=scopes, sha256=digest(key))


def request(name: str = "digits", **spec: Any) -> bytes:
    return predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=name, **spec)).SerializeToString()


_Servicer: Any = registry_pb2_grpc.RegistryServiceServicer  # its methods that are not here are unimplemented


class FakeRegistry(_Servicer):  # type: ignore[misc]
    """Tells its watchers what the test publishes, and notes the control calls that reach it."""

    def __init__(self, registry_id: str = "") -> None:
        self.registry_id = registry_id
        self.state = Directory()
        self.state.apply(pb.WatchResponse(snapshot=True))
        self.control: list[dict[str, Any]] = []
        self.uses: asyncio.Queue[pb.VersionUse] = asyncio.Queue()
        self.reports: asyncio.Queue[traffic_pb2.ReportTrafficRequest] = asyncio.Queue()
        self.deaf = False
        self._watchers: set[asyncio.Queue[pb.WatchResponse]] = set()

    def publish(self, **change: Any) -> None:
        message = pb.WatchResponse(registry_id=self.registry_id, **change)
        self.state.apply(message)
        for watcher in self._watchers:
            watcher.put_nowait(message)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[pb.WatchResponse]:
        queue: asyncio.Queue[pb.WatchResponse] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            snapshot = self.state.state()
            snapshot.registry_id = self.registry_id
            yield snapshot
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    async def ReportUse(self, request: pb.ReportUseRequest, context: Any) -> pb.ReportUseResponse:
        for use in request.uses:
            self.uses.put_nowait(use)
        return pb.ReportUseResponse()

    async def ListKeys(self, request: Any, context: Any) -> pb.ListKeysResponse:
        self.control.append(dict(context.invocation_metadata()))
        return pb.ListKeysResponse()

    async def ReportTraffic(self, request: Any, context: Any) -> traffic_pb2.ReportTrafficResponse:
        self.reports.put_nowait(request)
        if self.deaf:  # it has heard, and its answer is lost
            self.deaf = False
            await context.abort(grpc.StatusCode.UNAVAILABLE, "")
        return traffic_pb2.ReportTrafficResponse()

    async def Publish(self, requests: Any, context: Any) -> Any:
        """Refuses as soon as it has the header, as the registry does."""
        async for _ in requests:
            error = errors.VersionExists("published already")
            await context.abort(error.code, to_status(error).message, to_trailers(error))

    async def SetAlias(self, request: Any, context: Any) -> Any:
        error = errors.Conflict("somebody was faster")
        await context.abort(error.code, to_status(error).message, to_trailers(error))


async def echo(request: bytes, context: Any) -> bytes:
    return request


@dataclass
class FakeWorker:
    """Answers with the request, unless `behaviour` is another; notes what it sees."""

    worker_id: str
    address: str
    behaviour: Behaviour = echo
    local_address: str = ""
    """Where it exchanges frames, too; empty: nowhere."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    remaining: list[float | None] = field(default_factory=list)
    exchanged: list[worker_pb2.ExchangeQuestion] = field(default_factory=list)
    """The questions that did not come by a call of their own."""
    links: list[Link] = field(default_factory=list)
    server: Any = None
    local_server: UnixServer | None = None

    async def predict(self, request: bytes, context: Any) -> bytes:
        self.seen.append(dict(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        return await self.behaviour(request, context)

    async def generate(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        while True:
            yield await self.behaviour(request, context)

    def handle(self, link: Link) -> Exchanging:
        """Serve a link."""
        self.links.append(link)
        return Exchanging(link, self.predict, self.exchanged)

    async def exchange(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in serve_grpc(requests, new_call("/penstock.v1.WorkerService/Exchange", ()), self.handle):
            yield message

    async def start(self) -> None:
        if self.local_address:
            self.local_server = await serve_unix(self.local_address, self.handle)
        self.server = grpc.aio.server(options=server_options())
        methods: dict[str, Any] = {
            "Predict": grpc.unary_unary_rpc_method_handler(self.predict),
            "Exchange": grpc.stream_stream_rpc_method_handler(self.exchange),
            "Generate": grpc.unary_stream_rpc_method_handler(self.generate),
        }
        self.server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("penstock.v1.WorkerService", methods)]
        )
        self.server.add_insecure_port(self.address)
        await self.server.start()

    async def stop(self) -> None:
        """Cut off what is in flight. Lets go of the server, which must not outlive its event loop."""
        local, self.local_server = self.local_server, None
        if local is not None:
            local.close()
            await local.wait_closed()
        server, self.server = self.server, None
        if server is not None:
            await server.stop(0)

    def record(self, name: str = "digits", epoch: int = 7, state: int = AVAILABLE) -> pb.WorkerRecord:
        where: dict[str, Any] = {"address": self.address, "local_address": self.local_address}
        return pb.WorkerRecord(worker_id=self.worker_id, epoch=epoch, name=name, version=1, state=state, **where)  # type: ignore[arg-type]


async def refuse(context: Any, error: errors.PenstockError) -> Any:
    """What a worker of ours does with an error."""
    await context.abort(error.code, to_status(error).message, to_trailers(error))


def details(trailers: Any) -> dict[str, Any]:
    """The error's details by the name of their type."""
    status = status_pb2.Status.FromString(dict(trailers)[DETAILS_KEY])
    return {detail.TypeName().rpartition(".")[2]: detail for detail in status.details}


async def ask(call: Awaitable[Any]) -> Any:
    """Await a call, with the errors that clients raise."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


@dataclass
class Gateway:
    """A gateway that serves."""

    address: str
    channel: grpc.aio.Channel
    stop: Stop
    task: asyncio.Task[int]

    def predict(self, message: bytes | None = None, **options: Any) -> Any:
        send: Any = self.channel.unary_unary(PREDICT)
        return send(request() if message is None else message, timeout=options.pop("timeout", 20), **options)

    async def until(self, status: int, service: str = "models/digits") -> None:
        """Wait until health says so."""
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        call = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=20)
        async for answer in call:
            if answer.status == status:
                call.cancel()
                return


class World:
    """What a test builds its scene from; all of it is stopped at the end."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.registry = FakeRegistry()
        self.registry_port = 0
        self._registry_server: Any = None
        self._stack = stack

    async def start_registry(self) -> None:
        server = grpc.aio.server(options=server_options())
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(self.registry, server)
        self.registry_port = server.add_insecure_port(f"127.0.0.1:{self.registry_port}")
        await server.start()
        self._registry_server = server

    async def stop_registry(self) -> None:
        if self._registry_server is not None:
            await self._registry_server.stop(0)
            self._registry_server = None

    async def worker(self, name: str = "digits", worker_id: str = "w1", local: bool = False) -> FakeWorker:
        """A worker that the registry knows; with a socket for frames, if it is `local`."""
        made = FakeWorker(worker_id, f"unix:{self.folder}/{worker_id}.sock")
        made.local_address = f"{self.folder}/{worker_id}.frames" if local else ""
        await made.start()
        self._stack.push_async_callback(made.stop)
        self.registry.publish(workers=[made.record(name)])
        return made

    async def gateway(self, **more: Any) -> Gateway:
        fields = {"lame_duck": 0.0, "grace": 5.0, "data_dir": self.folder / "data", **more}
        fields.setdefault("registry", f"127.0.0.1:{self.registry_port}")
        config = GatewayConfig(grpc_port=0, http_port=0, **fields)
        readable, writable = os.pipe()
        os.environ[READY_FD] = str(writable)
        stop = Stop()
        task = asyncio.create_task(serve(config, stop))
        with os.fdopen(readable) as parent:
            facts = json.loads(await asyncio.to_thread(parent.readline))
        channel = await self._stack.enter_async_context(connect(facts["grpc"], internal=False))
        made = Gateway(facts["grpc"], channel, stop, task)
        self._stack.push_async_callback(_end, made)
        return made

    async def served(self, local: bool = False, **more: Any) -> tuple[Gateway, FakeWorker]:
        """A gateway before one worker of the model `digits`, connected."""
        self.registry.publish(models=[model()])
        worker = await self.worker(local=local)
        gateway = await self.gateway(**more)
        await gateway.until(SERVING)
        return gateway, worker


async def _end(gateway: Gateway) -> None:
    gateway.stop.request()
    assert await asyncio.wait_for(gateway.task, 20) == 0


@asynccontextmanager
async def made_world(folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        world = World(folder, stack)
        await world.start_registry()
        stack.push_async_callback(world.stop_registry)
        yield world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with made_world(tmp_path) as world:
        yield world
