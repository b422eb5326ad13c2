"""A worker in this process, on unix sockets, between a fake registry and a caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from penstock.rpc.channel import connect
from penstock.rpc.errors import from_rpc_error
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.lifecycle import Stop
from penstock.rpc.server import bind, build
from penstock.v1 import predict_pb2 as pb
from penstock.v1 import registry_pb2, tensor_pb2, worker_pb2_grpc
from penstock.worker.serve import serve
from penstock.worker.worker_config import WorkerConfig

from .fake_registry import FakeRegistry

REGISTRY = registry_pb2.DESCRIPTOR.services_by_name["RegistryService"]
SCALE = b"""
from penstock import Servable, TensorSpec
from penstock.errors import InvalidInput

class Scale(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 2])}
    outputs = {"y": TensorSpec("FP32", ["batch", 2]), "total": TensorSpec("FP32", ["batch"])}

    def predict(self, x):
        if (x < 0).any():
            raise InvalidInput("negative")
        return {"y": x * 2, "total": x.sum(1)}
"""
COUNT = b"""
from penstock import Servable, TensorSpec

class Scale(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 2])}
    outputs = {"y": TensorSpec("FP32", ["batch", 2])}

    def predict(self, x):
        for number in range(3):
            yield {"y": x + number}
"""


@dataclass
class Worker:
    """A running worker."""

    registry: FakeRegistry
    stop: Stop
    task: asyncio.Task[int]
    stub: Any
    cache: Path
    trailers: dict[str, str | bytes] = field(default_factory=dict)
    """Of the last call of `predict`."""

    @property
    def epoch(self) -> int:
        return self.registry.epoch

    async def predict(self, *inputs: tensor_pb2.Tensor, epoch: object = "", **more: Any) -> pb.PredictResponse:
        request = pb.PredictRequest(inputs=inputs, output_names=more.pop("output_names", ()))
        metadata = [("x-penstock-epoch", str(epoch)), *more.pop("metadata", ())]
        call = self.stub.Predict(request, metadata=metadata, timeout=20)
        try:
            answer: pb.PredictResponse = await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        self.trailers = dict(await call.trailing_metadata())
        return answer

    async def generate(self, *inputs: tensor_pb2.Tensor) -> list[pb.GenerateResponse]:
        return [answer async for answer in self.stub.Generate(pb.GenerateRequest(inputs=inputs), timeout=20)]

    async def ended(self) -> int:
        return await asyncio.wait_for(self.task, 20)


def floats(*values: float, name: str = "x", shape: tuple[int, ...] = (1, 2), **more: Any) -> tensor_pb2.Tensor:
    return tensor_pb2.Tensor(name=name, shape=shape, floats=values, **more)


@asynccontextmanager
async def running(folder: Path, registry: FakeRegistry, **config: Any) -> AsyncIterator[Worker]:
    """A worker that has been started, whatever becomes of it; stopped at the end."""
    async with AsyncExitStack() as stack:
        server = build(CallInterceptor(), [(REGISTRY, registry)])
        bind(server, f"unix:{folder}/registry.sock", "--registry-port")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        fields: dict[str, Any] = {
            "name": "scale",
            "version": 1,
            "worker_id": "w1",
            "device": "cpu",
            "threads": 1,
            "lame_duck": 0.0,
        }
        fields |= {"listen": f"unix:{folder}/worker.sock", **config}
        plan = WorkerConfig(registry=f"unix:{folder}/registry.sock", cache_dir=folder / "cache", **fields)
        stop = Stop()
        task = asyncio.create_task(serve(plan, stop))
        channel = await stack.enter_async_context(connect(plan.listen))
        stub = worker_pb2_grpc.WorkerServiceStub(channel)
        try:
            yield Worker(registry, stop, task, stub, plan.cache_dir)
        finally:
            stop.requested.set()
            stop.forced.set()
            await asyncio.wait_for(task, 20)


@asynccontextmanager
async def ready(folder: Path, source: bytes = SCALE, **config: Any) -> AsyncIterator[Worker]:
    """A worker that has its lease."""
    registry = FakeRegistry()
    registry.publish("scale.py", source)
    async with running(folder, registry, **config) as worker:
        await registry.until(lambda: bool(registry.renewals))
        yield worker
