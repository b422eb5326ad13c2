"""ModelStatusService: what is served, from the directory; a caller sees the models that it may use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from penstock.v1 import model_pb2, registry_pb2
from penstock.v1 import model_status_pb2 as pb

from ..errors import InvalidArgument, RegistryUnavailable, VersionNotFound, Violation
from ..rpc.call import Call
from .directory import Directory
from .peek import from_message
from .routing import resolve

_PAGE, _MAX_PAGE = 100, 1000


class StatusServicer:
    """Serves ModelStatusService.

    Args:
        directory: the gateway's.
        carrier: how a worker of a version is reached.
    """

    def __init__(self, directory: Directory, carrier: Callable[[tuple[str, int], str], str]) -> None:
        self._directory = directory
        self._carrier = carrier

    async def get_model_status(self, request: pb.GetModelStatusRequest, call: Call) -> pb.GetModelStatusResponse:
        """One model; with a version or alias, only that version."""
        name, version = self._resolved(request.model_spec, call)
        status = self._status(self._directory.models[name])
        if request.model_spec.WhichOneof("version_choice"):
            kept = [v for v in status.versions if v.version == version]
            del status.versions[:]
            status.versions.extend(kept)
        return pb.GetModelStatusResponse(model=status)

    async def list_models(self, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
        """All visible models, a page at a time; the token is the last name of the page before."""
        if request.page_size < 0:
            text = f"page_size is at least 0, got {request.page_size}"
            raise InvalidArgument(text, violations=[Violation("page_size", text)])
        size = min(request.page_size or _PAGE, _MAX_PAGE)
        self._require_known()
        names = sorted(n for n in self._directory.models if n > request.page_token and call.principal.may("status", n))
        page = [self._status(self._directory.models[name]) for name in names[:size]]
        return pb.ListModelsResponse(models=page, next_page_token=names[size - 1] if len(names) > size else "")

    async def get_model_metadata(self, request: pb.GetModelMetadataRequest, call: Call) -> pb.GetModelMetadataResponse:
        """Signature and manifest of a version."""
        name, version = self._resolved(request.model_spec, call)
        records = [v for v in self._directory.models[name].versions if v.manifest.version == version]
        if not records:
            text = f"model {name!r} has no version"
            raise VersionNotFound(text, resource=("version", name), metadata={"model": name})
        (record,) = records
        spec = model_pb2.ModelSpec(name=name, version=version)
        answer = pb.GetModelMetadataResponse(model_spec=spec, manifest=record.manifest)
        if record.HasField("signature"):
            answer.signature.CopyFrom(record.signature)
        return answer

    async def watch_model_status(
        self, request: pb.WatchModelStatusRequest, call: Call
    ) -> AsyncIterator[pb.WatchModelStatusResponse]:
        """The status now, and of what changes; unchanged models are not repeated."""
        wanted = request.model_spec.name
        if wanted:
            self._resolved(request.model_spec, call)
        last: dict[str, bytes] = {}
        first = True
        async for changed in self._directory.changes():
            answer = pb.WatchModelStatusResponse()
            for name in sorted({wanted} & changed if wanted else changed):
                self._add_change(answer, name, call, last)
            if first or answer.models or answer.removed:
                yield answer
            first = False

    def _add_change(self, answer: pb.WatchModelStatusResponse, name: str, call: Call, last: dict[str, bytes]) -> None:
        record = self._directory.models.get(name)
        if record is None:
            if last.pop(name, None) is not None:
                answer.removed.append(name)
            return
        if not call.principal.may("status", name):
            return
        status = self._status(record)
        content = status.SerializeToString(deterministic=True)
        if last.get(name) != content:
            last[name] = content
            answer.models.append(status)

    def _require_known(self) -> None:
        if not self._directory.known:
            raise RegistryUnavailable("this gateway has not reached the registry yet; try again")

    def _resolved(self, spec: model_pb2.ModelSpec, call: Call) -> tuple[str, int]:
        """Name and version; 0 for a model without the default alias when no version was asked for."""
        asked = from_message(spec)
        call.principal.require("status", asked.name)
        self._require_known()
        routes = self._directory.routes
        if (
            not spec.WhichOneof("version_choice")
            and asked.name in routes
            and asked.alias not in routes[asked.name].aliases
        ):
            return asked.name, max(routes[asked.name].versions, default=0)
        seen = call.principal
        return asked.name, resolve(routes, asked.name, asked.version, asked.alias, lambda n: seen.may("status", n))

    def _status(self, model: registry_pb2.ModelRecord) -> pb.ModelStatus:
        versions = [self._version(model, record) for record in reversed(model.versions)]
        return pb.ModelStatus(name=model.name, versions=versions, aliases=model.aliases)

    def _version(self, model: registry_pb2.ModelRecord, record: registry_pb2.VersionRecord) -> pb.VersionStatus:
        number = record.manifest.version
        workers = [w for w in self._directory.workers_of(model.name) if w.version == number]
        workers.sort(key=lambda worker: worker.worker_id)
        return pb.VersionStatus(
            version=number,
            state=record.state,
            reason=record.load_error,
            aliases=sorted(alias for alias, version in model.aliases.items() if version == number),
            instances=[_instance(w, self._carrier((model.name, number), w.worker_id)) for w in workers],
            format=record.manifest.format,
            load_failed=bool(record.load_error),
            desired_instances=record.desired_instances,
        )


def _instance(worker: registry_pb2.WorkerRecord, carrier: str) -> pb.InstanceStatus:
    return pb.InstanceStatus(
        worker_id=worker.worker_id,
        device=worker.device,
        state=worker.state,
        stage=worker.stage,
        progress=worker.progress,
        epoch=worker.epoch,
        pid=worker.pid,
        carrier=carrier,
        padded_share=worker.report.padded_share,
        optimized=worker.optimized if worker.HasField("optimized") else None,
    )
