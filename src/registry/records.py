"""Between the wire's messages and the registry's values, both ways."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..optimization import Optimization
from ..rpc.messages import optimized_from_message, optimized_to_message, signature_to_message
from ..servable import Padding
from .serving_records import serving_from_message, serving_to_message
from .state import (
    AliasChange,
    Audit,
    Batching,
    Draft,
    Examples,
    FileEntry,
    Key,
    LoadFailure,
    LoadReport,
    Manifest,
    ModelView,
    Settings,
    State,
    VersionView,
    Worker,
)
from .traffic_records import traffic_from_message, traffic_to_message

_STATES = {int(state) for state in State}
_OPTIMIZATIONS = {int(optimization) for optimization in Optimization}


def timestamp(seconds: float) -> Timestamp:
    """Unix seconds as a message, to the millisecond."""
    message = Timestamp()
    message.FromMilliseconds(round(seconds * 1000))
    return message


def manifest_to_message(manifest: Manifest) -> model_pb2.Manifest:
    """As it goes on the wire, and into the store."""
    return model_pb2.Manifest(
        name=manifest.name,
        version=manifest.version,
        format=manifest.format,
        entry=manifest.entry,
        files=[model_pb2.FileEntry(path=f.path, size=f.size, sha256=f.sha256) for f in manifest.files],
        batching=_batching_to_message(manifest.batching),
        created=timestamp(manifest.created),
        labels=manifest.labels,
        examples=_examples_to_message(manifest.examples),
        optimization=_optimization_to_message(manifest.optimization),  # type: ignore[arg-type]
    )


def _batching_to_message(batching: Batching) -> model_pb2.BatchPolicy:
    message = model_pb2.BatchPolicy(max_batch_size=batching.max_batch_size, max_queue_size=batching.max_queue_size)
    if batching.max_queue_delay_s:
        message.max_queue_delay.FromNanoseconds(round(batching.max_queue_delay_s * 1e9))
    if batching.padding is not None:
        asked = batching.padding
        padding = model_pb2.Padding(
            value=asked.value, masks=asked.masks, buckets=asked.buckets, max_pad_fraction=asked.max_pad_fraction
        )
        message.padding.CopyFrom(padding)
    return message


def _examples_to_message(examples: Examples) -> model_pb2.Examples | None:
    if examples == Examples():
        return None
    return model_pb2.Examples(golden=examples.golden, warm_up=examples.warm_up, rtol=examples.rtol, atol=examples.atol)


def _optimization_to_message(optimization: Optimization) -> int:
    """NONE is not written: what was published before there was anything else stays what it was."""
    return 0 if optimization is Optimization.NONE else int(optimization)


def manifest_from_message(message: model_pb2.Manifest) -> Manifest:
    """As it is used inside."""
    return Manifest(
        message.name,
        message.version,
        message.format,
        message.entry,
        files_from_messages(message.files),
        _batching(message.batching),
        message.created.ToMilliseconds() / 1000,
        dict(message.labels),
        _examples(message.examples),
        # One that a later release has stored and this one does not know counts as none.
        Optimization(message.optimization) if message.optimization in _OPTIMIZATIONS else Optimization.NONE,
    )


def files_from_messages(files: Iterable[model_pb2.FileEntry]) -> tuple[FileEntry, ...]:
    """As they are used inside; not checked."""
    return tuple(FileEntry(file.path, file.size, file.sha256) for file in files)


def _batching(message: model_pb2.BatchPolicy) -> Batching:
    delay = message.max_queue_delay
    padding = _padding(message.padding) if message.HasField("padding") else None
    # Not ToNanoseconds: a caller's message may hold seconds that no timedelta can.
    return Batching(message.max_batch_size, delay.seconds + delay.nanos / 1e9, message.max_queue_size, padding)


def _examples(message: model_pb2.Examples) -> Examples:
    return Examples(
        message.golden,
        message.warm_up,
        message.rtol if message.HasField("rtol") else None,
        message.atol if message.HasField("atol") else None,
    )


def _padding(message: model_pb2.Padding) -> Padding:
    return Padding(message.value, dict(message.masks), tuple(message.buckets), message.max_pad_fraction)


def draft_from_message(message: pb.PublishHeader) -> Draft:
    """What somebody wants to publish; not checked."""
    return Draft(
        message.name,
        message.version,
        message.format,
        message.entry,
        files_from_messages(message.files),
        _batching(message.batching),
        dict(message.labels),
        tuple(message.aliases),
        message.instances,
        message.device,
        _examples(message.examples),
        message.optimization or Optimization.NONE,
        serving_from_message(message.policy),
        message.url,
    )


def model_to_message(model: ModelView) -> pb.ModelRecord:
    """As followers get it."""
    versions = [_version_to_message(version) for version in model.versions]
    settings = settings_to_message(model.settings)
    return pb.ModelRecord(name=model.name, versions=versions, aliases=model.aliases, settings=settings)


def settings_to_message(settings: Settings) -> pb.ModelSettings:
    """As they go on the wire, and into the store."""
    return pb.ModelSettings(
        serving=serving_to_message(settings.serving),
        traffic=map(traffic_to_message, settings.traffic),
        deleted_up_to=settings.deleted_up_to,
    )


def settings_from_message(message: pb.ModelSettings) -> Settings:
    """As they are used inside."""
    traffic = tuple(map(traffic_from_message, message.traffic))
    return Settings(serving_from_message(message.serving), traffic, message.deleted_up_to)


def _version_to_message(view: VersionView) -> pb.VersionRecord:
    version = view.version
    return pb.VersionRecord(
        manifest=manifest_to_message(version.manifest),
        signature=signature_to_message(version.signature) if version.signature else None,
        placement=int(version.placement),  # type: ignore[arg-type]
        desired_instances=view.desired_instances,
        device=view.device,
        state=int(view.state),  # type: ignore[arg-type]
        load_error=view.load_error,
        warm_until=timestamp(view.warm_until) if view.warm_until else None,
        last_failure=_failure_to_message(view.last_failure) if view.last_failure else None,
        deployment=view.deployment,
        waits=view.waits,
        memory_bytes=view.memory,
        on_demand=view.on_demand,
    )


def _failure_to_message(failure: LoadFailure) -> pb.LoadFailure:
    next_ = timestamp(failure.next) if failure.next else None
    return pb.LoadFailure(error=failure.error, tries=failure.tries, next=next_)


def failure_from_message(message: pb.ReportLoadRequest) -> LoadFailure:
    """As it is used inside."""
    next_ = message.next.seconds + message.next.nanos / 1e9
    return LoadFailure(message.error, max(message.tries, 0), next_)


def worker_to_message(worker: Worker) -> pb.WorkerRecord:
    """As followers get it, and as it goes into the store."""
    report = worker.report
    return pb.WorkerRecord(
        worker_id=worker.worker_id,
        epoch=worker.epoch,
        name=worker.name,
        version=worker.version,
        address=worker.address,
        device=worker.device,
        state=int(worker.state),  # type: ignore[arg-type]
        stage=worker.stage,
        progress=worker.progress,
        max_batch_size=worker.max_batch_size,
        pid=worker.pid,
        local_address=worker.local_address,
        report=pb.LoadReport(
            queued_rows=report.queued_rows,
            rows=report.rows,
            batches=report.batches,
            failures=report.failures,
            padded_share=report.padded_share,
            memory_bytes=report.memory,
        ),
        optimized=optimized_to_message(worker.optimized) if worker.optimized else None,
    )


def worker_from_message(message: pb.WorkerRecord) -> Worker:
    """As it is used inside; a state that this release does not know counts as LOADING."""
    known = int(message.state) in _STATES
    return Worker(
        worker_id=message.worker_id,
        name=message.name,
        version=message.version,
        epoch=message.epoch,
        address=message.address,
        device=message.device,
        state=State(message.state) if known else State.LOADING,
        stage=message.stage,
        progress=message.progress,
        max_batch_size=message.max_batch_size,
        pid=message.pid,
        local_address=message.local_address,
        report=report_from_message(message.report),
        optimized=optimized_from_message(message.optimized) if message.HasField("optimized") else None,
    )


def report_from_message(message: pb.LoadReport) -> LoadReport:
    """A worker's figures."""
    counted = message.queued_rows, message.rows, message.batches, message.failures
    return LoadReport(*counted, message.padded_share, message.memory_bytes)


def key_to_message(key: Key) -> pb.KeyRecord:
    """Without the secret, which nobody has any more."""
    return pb.KeyRecord(
        key_id=key.key_id, name=key.name, scopes=key.scopes, sha256=key.sha256, created=timestamp(key.created)
    )


def audit_to_message(audit: Audit) -> pb.AuditEntry:
    """One line of the log."""
    return pb.AuditEntry(
        id=audit.id,
        time=timestamp(audit.time),
        principal=audit.principal,
        action=audit.action,
        subject=audit.subject,
        change=audit.change,
        outcome=audit.outcome,
        request_id=audit.request_id,
    )


def change_to_message(change: AliasChange) -> pb.AliasChange:
    """One line of an alias's history."""
    return pb.AliasChange(
        alias=change.alias,
        version=change.version,
        previous_version=change.previous,
        time=timestamp(change.time),
        principal=change.principal,
    )
