"""Calls of a registry over a socket, with the errors that clients raise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio

from penstock.registry.state import FileEntry
from penstock.rpc.errors import from_rpc_error
from penstock.rpc.messages import signature_to_message
from penstock.v1 import model_pb2, registry_pb2_grpc
from penstock.v1 import registry_pb2 as pb

from .conftest import entry
from .test_store import SIGNATURE

Stub: TypeAlias = "registry_pb2_grpc.RegistryServiceAsyncStub"


async def ask(call: Awaitable[Any]) -> Any:
    """Await a call, with the errors that clients raise."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


def header(*files: FileEntry, name: str = "digits", version: int = 0, **more: Any) -> pb.PublishRequest:
    entries = [model_pb2.FileEntry(path=f.path, size=f.size, sha256=f.sha256) for f in files]
    made = pb.PublishHeader(
        name=name, version=version, format="torch_export", entry=files[0].path, files=entries, **more
    )
    return pb.PublishRequest(header=made)


async def send(stub: Stub, first: pb.PublishRequest, *chunks: bytes, **options: Any) -> pb.PublishResponse:
    requests = [first, *(pb.PublishRequest(chunk=chunk) for chunk in chunks)]
    response: pb.PublishResponse = await ask(stub.Publish(iter(requests), **options))
    return response


async def publish(stub: Stub, content: bytes = b"weights", **more: Any) -> pb.PublishResponse:
    return await send(stub, header(entry(content), **more), content)


def record(worker_id: str = "w1", version: int = 1, **more: Any) -> pb.WorkerRecord:
    fields: dict[str, Any] = {"address": "unix:/run/w1", "state": model_pb2.MODEL_STATE_AVAILABLE, **more}
    return pb.WorkerRecord(worker_id=worker_id, name="digits", version=version, **fields)


async def register(stub: Stub, worker_id: str = "w1", version: int = 1) -> pb.RegisterWorkerResponse:
    request = pb.RegisterWorkerRequest(worker=record(worker_id, version), signature=signature_to_message(SIGNATURE))
    response: pb.RegisterWorkerResponse = await ask(stub.RegisterWorker(request))
    return response


@asynccontextmanager
async def watching(stub: Stub) -> AsyncIterator[Any]:
    call = stub.Watch(pb.WatchRequest())
    try:
        yield call
    finally:
        call.cancel()
