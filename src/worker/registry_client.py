"""What a worker says to the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from ..errors import DeadlineExceeded, ModelNotFound, PenstockError, RegistryUnavailable, Unavailable
from ..rpc.errors import from_rpc_error
from ..rpc.messages import signature_to_message
from ..rpc.registries import Registries
from ..signature import Signature

_TIMEOUT = 5.0
"""Seconds for one call: the registry answers from memory."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A lease: its epoch, and for how many seconds it holds without renewal."""

    epoch: int
    ttl: float


class RegistryClient:
    """Calls of a registry, or of several over one store; they raise PenstockError. Whoever made it closes it."""

    def __init__(self, addresses: str, api_key: str = "") -> None:
        self._registries = Registries(addresses)
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()

    async def close(self) -> None:
        """End the connection."""
        await self._registries.close()

    async def version(self, name: str, version: int) -> pb.VersionRecord:
        """What the registry holds of a version.

        Raises:
            ModelNotFound: it holds none.
        """
        channel = await self._registries.connected()
        call = RegistryServiceStub(channel).Watch(pb.WatchRequest(), metadata=self._metadata)
        try:
            snapshot = await call.read()
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()
        for model in snapshot.models if isinstance(snapshot, pb.WatchResponse) else ():
            for record in model.versions:
                if (model.name, record.manifest.version) == (name, version):
                    return record
        raise ModelNotFound(f"the registry has no version {version} of model {name!r}")

    async def fetch_file(self, sha256: str) -> AsyncIterator[pb.FetchFileResponse]:
        """The bytes of a file, in pieces."""
        stub = RegistryServiceStub(await self._registries.connected())
        try:
            async for message in stub.FetchFile(pb.FetchFileRequest(sha256=sha256), metadata=self._metadata):
                yield message
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    async def report_load(self, worker: pb.WorkerRecord, error: str = "") -> None:
        """Say how the load goes; a registry that does not answer does not stop it."""
        with suppress(PenstockError):
            await self._ask(lambda stub: stub.ReportLoad, pb.ReportLoadRequest(worker=worker, error=error))

    async def register(
        self, worker: pb.WorkerRecord, signature: Signature, manifest: model_pb2.Manifest
    ) -> Registration:
        """Take a lease."""
        known = signature_to_message(signature)
        request = pb.RegisterWorkerRequest(worker=worker, signature=known, manifest=manifest)
        answer = await self._ask(lambda stub: stub.RegisterWorker, request)
        return Registration(answer.epoch, answer.ttl.ToMilliseconds() / 1000)

    async def renew(self, worker_id: str, epoch: int, report: pb.LoadReport, *, draining: bool = False) -> bool:
        """Prolong a lease; True: the registry wants this worker to drain."""
        request = pb.RenewLeaseRequest(worker_id=worker_id, epoch=epoch, report=report, draining=draining)
        answer = await self._ask(lambda stub: stub.RenewLease, request)
        return bool(answer.drain)

    async def revoke(self, worker_id: str) -> None:
        """Give the lease back; if that fails it ends by itself."""
        with suppress(PenstockError):
            await self._ask(lambda stub: stub.RevokeLease, pb.RevokeLeaseRequest(worker_id=worker_id))

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until a registry that was gone is back."""
        await self._registries.pause(seconds)

    async def _ask(self, method: Callable[[Any], Any], request: Message) -> Any:
        """Call one registry after the other, until one answers. All of it may be said twice."""
        failure: PenstockError | None = None
        for _ in range(len(self._registries)):
            try:
                channel = await self._registries.connected()
            except RegistryUnavailable as error:
                failure = error
                continue
            try:
                stub = RegistryServiceStub(channel)
                return await method(stub)(request, timeout=_TIMEOUT, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = from_rpc_error(error)
                if not isinstance(failure, (Unavailable, DeadlineExceeded)):
                    raise failure from error
                self._registries.failed(channel)
        assert failure is not None
        raise failure
