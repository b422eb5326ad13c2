"""What a worker says to the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import grpc.aio

from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from ..errors import ModelNotFound
from ..rpc.channel import connect
from ..rpc.errors import from_rpc_error
from ..rpc.messages import signature_to_message
from ..signature import Signature

_TIMEOUT = 5.0
"""Seconds for one call: the registry answers from memory."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A lease: its epoch, and for how many seconds it holds without renewal."""

    epoch: int
    ttl: float


class RegistryClient:
    """A channel to the registry. Calls raise PenstockError; whoever made it closes it."""

    def __init__(self, address: str, api_key: str = "") -> None:
        self._channel = connect(address)
        self._stub = RegistryServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()

    async def version(self, name: str, version: int) -> pb.VersionRecord:
        """What the registry holds of a version.

        Raises:
            ModelNotFound: it holds none.
        """
        call = self._stub.Watch(pb.WatchRequest(), metadata=self._metadata)
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
        try:
            async for message in self._stub.FetchFile(pb.FetchFileRequest(sha256=sha256), metadata=self._metadata):
                yield message
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    async def report_load(self, worker: pb.WorkerRecord, error: str = "") -> None:
        """Say how the load goes; a registry that does not answer does not stop it."""
        request = pb.ReportLoadRequest(worker=worker, error=error)
        try:
            await self._stub.ReportLoad(request, timeout=_TIMEOUT, metadata=self._metadata)
        except grpc.RpcError:
            return

    async def register(self, worker: pb.WorkerRecord, signature: Signature) -> Registration:
        """Take a lease."""
        request = pb.RegisterWorkerRequest(worker=worker, signature=signature_to_message(signature))
        try:
            answer = await self._stub.RegisterWorker(request, timeout=_TIMEOUT, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return Registration(answer.epoch, answer.ttl.ToMilliseconds() / 1000)

    async def renew(self, worker_id: str, epoch: int, report: pb.LoadReport, *, draining: bool = False) -> bool:
        """Prolong a lease; True: the registry wants this worker to drain."""
        request = pb.RenewLeaseRequest(worker_id=worker_id, epoch=epoch, report=report, draining=draining)
        try:
            answer = await self._stub.RenewLease(request, timeout=_TIMEOUT, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return bool(answer.drain)

    async def revoke(self, worker_id: str) -> None:
        """Give the lease back; if that fails it ends by itself."""
        request = pb.RevokeLeaseRequest(worker_id=worker_id)
        try:
            await self._stub.RevokeLease(request, timeout=_TIMEOUT, metadata=self._metadata)
        except grpc.RpcError:
            return
