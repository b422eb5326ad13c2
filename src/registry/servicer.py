"""RegistryService on the wire: messages in, one call of the registry, messages out."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from google.protobuf.duration_pb2 import Duration

from penstock.v1 import artifacts_pb2, model_pb2, traffic_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import InvalidArgument, Violation
from ..rpc.call import Call
from ..rpc.messages import signature_from_message
from ..signature import Signature
from ..signing import Trust
from . import records, traffic_records
from .artifacts import Artifacts
from .audit import principal_of as _principal
from .collector import Collector
from .demand import Use
from .origins import Origins
from .publishing import Publishing, Requests
from .registry import Registry
from .restoring import Requests as RestoreRequests
from .restoring import Restoring
from .serving_records import seconds_of, serving_from_message
from .state import Key, ModelView, Worker
from .stored_records import stored_to_message
from .watch import Kind, Update

AUDIT_PAGE, MAX_AUDIT_PAGE = 100, 1000
MAX_USES = 1000
SERVICE = pb.DESCRIPTOR.services_by_name["RegistryService"]

log = logging.getLogger("penstock.registry")


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
        expected = request.expected_version if request.HasField("expected_version") else None
        model, version, previous = await self._registry.rollback_alias(
            request.name, request.alias, _principal(call), expected
        )
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

    async def get_model(self, request: pb.GetModelRequest, call: Call) -> pb.GetModelResponse:
        """A model as it is now."""
        return pb.GetModelResponse(model=records.model_to_message(self._registry.model(request.name)))

    async def list_audit(self, request: pb.ListAuditRequest, call: Call) -> pb.ListAuditResponse:
        """Who changed what."""
        if request.page_size < 0 or request.before_id < 0:
            text = "page_size and before_id are at least 0"
            raise InvalidArgument(text, violations=[Violation("page_size", text)])
        since = request.since.seconds + request.since.nanos / 1e9
        size = min(request.page_size or AUDIT_PAGE, MAX_AUDIT_PAGE)
        found = await self._registry.audit(request.subject, since, request.before_id, size)
        return pb.ListAuditResponse(entries=map(records.audit_to_message, found))

    async def set_policy(self, request: pb.SetPolicyRequest, call: Call) -> pb.SetPolicyResponse:
        """Say which versions are loaded, how often, where and for how long."""
        policy = serving_from_message(request.policy)
        model = await self._registry.set_policy(request.name, policy, request.update_mask.paths)
        return pb.SetPolicyResponse(model=records.model_to_message(model))

    async def confirm_removals(self, request: pb.ConfirmRemovalsRequest, call: Call) -> pb.ConfirmRemovalsResponse:
        """Have followers believe that what is not listed is gone."""
        hub = self._registry.hub
        hub.confirm()
        log.warning("%s confirmed that what is not listed is gone", _principal(call))
        return pb.ConfirmRemovalsResponse(revision=hub.revision)

    async def set_split(self, request: traffic_pb2.SetSplitRequest, call: Call) -> traffic_pb2.SetSplitResponse:
        """Share an alias's requests out."""
        split = traffic_records.split_from_message(request.split) if request.HasField("split") else None
        traffic = await self._registry.traffic.set_split(
            request.name, request.alias, split, _expected(request), _principal(call)
        )
        return traffic_pb2.SetSplitResponse(traffic=traffic_records.traffic_to_message(traffic))

    async def set_shadow(self, request: traffic_pb2.SetShadowRequest, call: Call) -> traffic_pb2.SetShadowResponse:
        """Mirror a share of an alias's requests."""
        shadow = traffic_records.shadow_from_message(request.shadow) if request.HasField("shadow") else None
        traffic = await self._registry.traffic.set_shadow(
            request.name, request.alias, shadow, _expected(request), _principal(call)
        )
        return traffic_pb2.SetShadowResponse(traffic=traffic_records.traffic_to_message(traffic))

    async def start_canary(
        self, request: traffic_pb2.StartCanaryRequest, call: Call
    ) -> traffic_pb2.StartCanaryResponse:
        """Give a version its first share."""
        policy = traffic_records.policy_from_message(request.policy)
        asked = request.name, request.alias, request.version, policy, request.sticky_key
        traffic = await self._registry.traffic.start_canary(*asked, _expected(request), _principal(call))
        return traffic_pb2.StartCanaryResponse(traffic=traffic_records.traffic_to_message(traffic))

    async def stop_canary(self, request: traffic_pb2.StopCanaryRequest, call: Call) -> traffic_pb2.StopCanaryResponse:
        """End a canary before its time."""
        traffic = await self._registry.traffic.stop_canary(
            request.name, request.alias, request.promote, _principal(call)
        )
        return traffic_pb2.StopCanaryResponse(traffic=traffic_records.traffic_to_message(traffic))

    async def get_traffic(self, request: traffic_pb2.GetTrafficRequest, call: Call) -> traffic_pb2.GetTrafficResponse:
        """Splits, shadows and canaries as they are."""
        found = self._registry.traffic.of(request.name, request.alias)
        return traffic_pb2.GetTrafficResponse(traffic=map(traffic_records.traffic_to_message, found))

    async def report_traffic(
        self, request: traffic_pb2.ReportTrafficRequest, call: Call
    ) -> traffic_pb2.ReportTrafficResponse:
        """Count what a gateway has counted."""
        reports = map(traffic_records.report_from_message, request.reports)
        self._registry.traffic.report(request.gateway[:64], request.sequence, reports)
        return traffic_pb2.ReportTrafficResponse()

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
                response = _watch_response(await watcher.next())
                response.registry_id = self._registry.hub.registry_id
                response.confirmed_revision = self._registry.hub.confirmed
                yield response

    async def report_use(self, request: pb.ReportUseRequest, call: Call) -> pb.ReportUseResponse:
        """Note what gateways are asked for."""
        asked = request.uses[:MAX_USES]
        self._registry.use(Use((u.name, u.version), max(seconds_of(u.ago), 0.0), u.waiting) for u in asked)
        return pb.ReportUseResponse()

    async def fetch_file(self, request: pb.FetchFileRequest, call: Call) -> AsyncIterator[pb.FetchFileResponse]:
        """The bytes of one file; a file without bytes gives no message."""
        async for chunk in self._artifacts.read(request.sha256):
            yield pb.FetchFileResponse(chunk=chunk)

    async def report_load(self, request: pb.ReportLoadRequest, call: Call) -> pb.ReportLoadResponse:
        """Note how a load goes."""
        failure = records.failure_from_message(request) if request.error or request.tries else None
        self._registry.report_load(records.worker_from_message(request.worker), failure)
        return pb.ReportLoadResponse()

    async def register_worker(self, request: pb.RegisterWorkerRequest, call: Call) -> pb.RegisterWorkerResponse:
        """Give a lease."""
        signature = _signature(request.signature) if request.HasField("signature") else None
        loaded = records.manifest_from_message(request.manifest) if request.HasField("manifest") else None
        worker = await self._registry.register_worker(records.worker_from_message(request.worker), signature, loaded)
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


def _expected(
    request: traffic_pb2.SetSplitRequest | traffic_pb2.SetShadowRequest | traffic_pb2.StartCanaryRequest,
) -> int | None:
    return request.expected_revision if request.HasField("expected_revision") else None


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
