"""RegistryService on the wire: messages in, one call of the registry, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.duration_pb2 import Duration

from penstock.v1 import artifacts_pb2, model_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import InvalidArgument, Violation
from ..rpc.call import Call
from ..rpc.messages import signature_from_message
from ..signature import Signature
from ..signing import Trust
from . import records
from .artifacts import Artifacts
from .collector import Collector
from .origins import Origins
from .publishing import Publishing, Requests
from .registry import Registry
from .restoring import Requests as RestoreRequests
from .restoring import Restoring
from .state import Key, ModelView, Worker
from .stored_records import stored_to_message
from .watch import Kind, Update

SERVICE = pb.DESCRIPTOR.services_by_name["RegistryService"]
PRINCIPAL_KEY = "x-penstock-principal"
"""The header in which gateways, which call with their own key, say for whom they call."""


class RegistryServicer:
    """What `rpc.service.handlers` serves."""

    def __init__(
        self,
        registry: Registry,
        artifacts: Artifacts,
        collector: Collector | None = None,
        origins: Origins | None = None,
        trust: Trust | None = None,
    ) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._collector = collector or Collector(registry, artifacts)
        self._publishing = Publishing(registry, artifacts, origins, trust)
        self._restoring = Restoring(registry, artifacts, self._publishing.turn, trust)

    async def publish(self, requests: Requests, call: Call) -> pb.PublishResponse:
        """Store a new version."""
        return await self._publishing.publish(requests, _principal(call))

    async def deploy(self, request: pb.DeployRequest, call: Call) -> pb.DeployResponse:
        """Pin a version, or give a model back to the rule."""
        model = await self._registry.deploy(request.name, request.version, request.instances, request.device)
        return pb.DeployResponse(model=records.model_to_message(model))

    async def undeploy(self, request: pb.UndeployRequest, call: Call) -> pb.UndeployResponse:
        """Unload a version or a model."""
        model = await self._registry.undeploy(request.name, request.version)
        return pb.UndeployResponse(model=records.model_to_message(model))

    async def set_alias(self, request: pb.SetAliasRequest, call: Call) -> pb.SetAliasResponse:
        """Make an alias mean a version."""
        expected = request.expected_version if request.HasField("expected_version") else None
        model, previous = await self._registry.set_alias(
            request.name, request.alias, request.version, expected, _principal(call)
        )
        return pb.SetAliasResponse(model=records.model_to_message(model), previous_version=previous)

    async def delete_alias(self, request: pb.DeleteAliasRequest, call: Call) -> pb.DeleteAliasResponse:
        """Take an alias away."""
        model = await self._registry.delete_alias(request.name, request.alias, _principal(call))
        return pb.DeleteAliasResponse(model=records.model_to_message(model))

    async def rollback_alias(self, request: pb.RollbackAliasRequest, call: Call) -> pb.RollbackAliasResponse:
        """Turn an alias back."""
        model, version, previous = await self._registry.rollback_alias(request.name, request.alias, _principal(call))
        record = records.model_to_message(model)
        return pb.RollbackAliasResponse(model=record, version=version, previous_version=previous)

    async def list_alias_changes(self, request: pb.ListAliasChangesRequest, call: Call) -> pb.ListAliasChangesResponse:
        """What an alias meant when."""
        changes = self._registry.alias_changes(request.name, request.alias)
        return pb.ListAliasChangesResponse(changes=map(records.change_to_message, changes))

    async def drain_worker(self, request: pb.DrainWorkerRequest, call: Call) -> pb.DrainWorkerResponse:
        """Tell a worker to end."""
        worker = await self._registry.drain_worker(request.worker_id)
        return pb.DrainWorkerResponse(worker=records.worker_to_message(worker))

    async def create_key(self, request: pb.CreateKeyRequest, call: Call) -> pb.CreateKeyResponse:
        """Make a key."""
        secret, key = await self._registry.create_key(request.name, request.scopes)
        return pb.CreateKeyResponse(key=secret, record=records.key_to_message(key))

    async def list_keys(self, request: pb.ListKeysRequest, call: Call) -> pb.ListKeysResponse:
        """All keys."""
        return pb.ListKeysResponse(keys=map(records.key_to_message, self._registry.keyring.list()))

    async def revoke_key(self, request: pb.RevokeKeyRequest, call: Call) -> pb.RevokeKeyResponse:
        """Make a key useless."""
        await self._registry.revoke_key(request.key_id)
        return pb.RevokeKeyResponse()

    async def prepare_upload(
        self, request: artifacts_pb2.PrepareUploadRequest, call: Call
    ) -> artifacts_pb2.PrepareUploadResponse:
        """Which bytes need not be sent."""
        files = records.files_from_messages(request.files)
        return artifacts_pb2.PrepareUploadResponse(offsets=await self._publishing.prepare(files))

    async def delete_version(self, request: pb.DeleteVersionRequest, call: Call) -> pb.DeleteVersionResponse:
        """Take a version away."""
        model = await self._collector.delete_version(request.name, request.version)
        return pb.DeleteVersionResponse(model=records.model_to_message(model))

    async def collect_garbage(
        self, request: artifacts_pb2.CollectGarbageRequest, call: Call
    ) -> artifacts_pb2.CollectGarbageResponse:
        """Remove files that nothing needs."""
        found = await self._collector.collect(dry_run=request.dry_run, ignore_grace=request.ignore_grace)
        return artifacts_pb2.CollectGarbageResponse(
            files=len(found.blobs),
            bytes=sum(blob.size for blob in found.blobs),
            unfinished_files=len(found.leftovers),
            unfinished_bytes=sum(leftover.size for leftover in found.leftovers),
            stored_bytes=self._artifacts.room.used,
        )

    async def export_models(
        self, request: pb.ExportModelsRequest, call: Call
    ) -> AsyncIterator[pb.ExportModelsResponse]:
        """All models whole, as they are when the call begins."""
        for model in self._registry.all_stored():
            yield pb.ExportModelsResponse(model=stored_to_message(model))

    async def restore_model(self, requests: RestoreRequests, call: Call) -> pb.RestoreModelResponse:
        """Put a model of an archive back."""
        return await self._restoring.restore(requests)

    async def watch(self, request: pb.WatchRequest, call: Call) -> AsyncIterator[pb.WatchResponse]:
        """The whole state, then every change, until the caller goes or the registry drains."""
        with self._registry.hub.watch() as watcher:
            while True:
                yield _watch_response(await watcher.next())

    async def fetch_file(self, request: pb.FetchFileRequest, call: Call) -> AsyncIterator[pb.FetchFileResponse]:
        """The bytes of one file; a file without bytes gives no message."""
        async for chunk in self._artifacts.read(request.sha256):
            yield pb.FetchFileResponse(chunk=chunk)

    async def report_load(self, request: pb.ReportLoadRequest, call: Call) -> pb.ReportLoadResponse:
        """Note how a load goes."""
        self._registry.report_load(records.worker_from_message(request.worker), request.error)
        return pb.ReportLoadResponse()

    async def register_worker(self, request: pb.RegisterWorkerRequest, call: Call) -> pb.RegisterWorkerResponse:
        """Give a lease."""
        signature = _signature(request.signature) if request.HasField("signature") else None
        worker = await self._registry.register_worker(records.worker_from_message(request.worker), signature)
        return pb.RegisterWorkerResponse(epoch=worker.epoch, ttl=self._ttl())

    async def renew_lease(self, request: pb.RenewLeaseRequest, call: Call) -> pb.RenewLeaseResponse:
        """Prolong a lease."""
        report = records.report_from_message(request.report)
        drain = await self._registry.renew_lease(request.worker_id, request.epoch, report, request.draining)
        return pb.RenewLeaseResponse(ttl=self._ttl(), drain=drain)

    async def revoke_lease(self, request: pb.RevokeLeaseRequest, call: Call) -> pb.RevokeLeaseResponse:
        """End a lease or a load."""
        await self._registry.revoke_lease(request.worker_id)
        return pb.RevokeLeaseResponse()

    def _ttl(self) -> Duration:
        ttl = Duration()
        ttl.FromMilliseconds(round(self._registry.fleet.ttl_s * 1000))
        return ttl


def _principal(call: Call) -> str:
    """Who is to stand in the history."""
    given = call.text(PRINCIPAL_KEY)
    return given if 1 <= len(given) <= 128 and given.isprintable() else call.principal.name


def _signature(message: model_pb2.Signature) -> Signature:
    try:
        return signature_from_message(message)
    except ValueError:
        text = "the signature has an element type or a size that this release does not know"
        raise InvalidArgument(text, violations=[Violation("signature", text)]) from None


def _watch_response(update: Update) -> pb.WatchResponse:
    response = pb.WatchResponse(revision=update.revision, snapshot=update.snapshot)
    for record in update.records:
        if isinstance(record, ModelView):
            response.models.append(records.model_to_message(record))
        elif isinstance(record, Worker):
            response.workers.append(records.worker_to_message(record))
        elif isinstance(record, Key):
            response.keys.append(records.key_to_message(record))
    response.removed_workers.extend(name for kind, name in update.removed if kind is Kind.WORKER)
    response.removed_keys.extend(name for kind, name in update.removed if kind is Kind.KEY)
    return response
