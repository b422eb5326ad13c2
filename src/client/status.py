"""What is served, as values: models, their versions, and what a version takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from penstock.v1 import model_pb2
from penstock.v1 import model_status_pb2 as pb

from ..errors import ModelLoadFailed
from ..optimization import Optimized
from ..rpc.messages import optimized_from_message, signature_from_message
from ..signature import Signature

DEFAULT_ALIAS = "stable"
AVAILABLE, END = "AVAILABLE", "END"


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One running copy of a version."""

    worker: str
    device: str
    """`cpu`, `cuda:0`, ..."""
    state: str
    stage: str
    """What it does while LOADING: `fetching`, `loading`, `optimizing`, `warming up`, `proving`."""
    progress: float
    """How much of the loading is done, 0 to 1."""
    epoch: int
    pid: int
    carrier: str = ""
    """How the gateway that answered reaches it: `unix+shm`, `unix` or `grpc`; empty: it is not connected."""
    padded_share: float = 0.0
    """Of the elements that went to the device, the share that was filled in."""
    optimized: Optimized | None = None
    """How it computes, and what it measured before it chose; None: it was not asked to."""


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version of a model."""

    version: int
    state: str
    """START, LOADING, AVAILABLE, UNLOADING or END."""
    reason: str
    """Why it is in this state, for a person; set where the load failed."""
    aliases: tuple[str, ...]
    instances: tuple[InstanceStatus, ...]
    format: str
    load_failed: bool
    """The last load failed."""
    desired_instances: int
    """0: it is not deployed."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model with its versions, the newest first."""

    name: str
    versions: tuple[VersionStatus, ...]
    aliases: Mapping[str, int]
    """What each alias means."""

    def find(self, version: int | None = None, alias: str = DEFAULT_ALIAS) -> VersionStatus | None:
        """The version of that number, or the one that the alias means; None if there is none."""
        wanted = self.aliases.get(alias) if version is None else version
        return next((v for v in self.versions if v.version == wanted), None)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """What a watch reports: first all that there is, then what is different."""

    models: tuple[ModelStatus, ...]
    """Whole, also where one version alone changed."""
    removed: tuple[str, ...]
    """Names of models that exist no longer."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a version is."""

    model: str
    version: int
    signature: Signature | None
    """None until a worker has loaded the version once."""
    format: str
    """`torch_export`, `torchscript`, `onnx`, `safetensors`, `state_dict`, `python`, …"""
    labels: Mapping[str, str]
    created: datetime | None
    """When it was published, in UTC."""


def state_name(state: int) -> str:
    """`AVAILABLE` for MODEL_STATE_AVAILABLE; a state newer than this release is its number."""
    known = model_pb2.ModelState.DESCRIPTOR.values_by_number.get(state)
    return known.name.removeprefix("MODEL_STATE_") if known else str(state)


def model_status(message: pb.ModelStatus) -> ModelStatus:
    """From the wire."""
    return ModelStatus(message.name, tuple(map(_version, message.versions)), dict(message.aliases))


def _version(message: pb.VersionStatus) -> VersionStatus:
    return VersionStatus(
        version=message.version,
        state=state_name(message.state),
        reason=message.reason,
        aliases=tuple(message.aliases),
        instances=tuple(map(_instance, message.instances)),
        format=message.format,
        load_failed=message.load_failed,
        desired_instances=message.desired_instances,
    )


def _instance(m: pb.InstanceStatus) -> InstanceStatus:
    facts = m.stage, m.progress, m.epoch, m.pid, m.carrier, m.padded_share
    optimized = optimized_from_message(m.optimized) if m.HasField("optimized") else None
    return InstanceStatus(m.worker_id, m.device, state_name(m.state), *facts, optimized)


def status_change(message: pb.WatchModelStatusResponse) -> StatusChange:
    """From the wire."""
    return StatusChange(tuple(map(model_status, message.models)), tuple(message.removed))


def model_metadata(message: pb.GetModelMetadataResponse) -> Metadata:
    """From the wire. An element type that this release does not know raises ValueError."""
    manifest = message.manifest
    return Metadata(
        model=message.model_spec.name,
        version=message.model_spec.version,
        signature=signature_from_message(message.signature) if message.HasField("signature") else None,
        format=manifest.format,
        labels=dict(manifest.labels),
        created=manifest.created.ToDatetime(UTC) if manifest.HasField("created") else None,
    )


def available(change: StatusChange, name: str, version: int | None) -> VersionStatus | None:
    """The version, if the change says that it answers; None: wait on.

    Args:
        change: what a watch reported.
        name: the model.
        version: None means what the alias `stable` means.

    Raises:
        ModelLoadFailed: its load failed, and nothing is tried any more.
    """
    for model in change.models:
        found = model.find(version) if model.name == name else None
        if found is None:
            continue
        if found.state == END and found.load_failed:
            text = f"version {found.version} of {name} could not be loaded: {found.reason or 'no reason was given'}"
            raise ModelLoadFailed(text, metadata={"model": name, "version": str(found.version)})
        if found.state == AVAILABLE:
            return found
    return None
