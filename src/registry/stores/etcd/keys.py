"""Where what is kept, below the prefix, and how records become values. No I/O.

    format                  this layout's number
    registry_id, runs       as in the other stores
    leader                  who leads (see term); it ends with a lease of etcd
    last_write              which write was the last one, so that one that is sent twice is done once
    models/NAME             ModelRecord: aliases, settings, and the versions' numbers in the order of publication
    versions/NAME/NUMBER    VersionRecord
    changes/NAME/RUN-COUNT  AliasChange; sorted by their keys they are in their order
    leases/ID               WorkerRecord as it was registered; its epoch is the revision at which this key was written
    workers/ID              WorkerRecord as it is now, if it has changed since
    keys/ID                 KeyRecord
    audit/ID                AuditEntry; its id is the time in milliseconds, or one more than the id before

Names hold no '/', see `registry.names`.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from google.protobuf.timestamp_pb2 import Timestamp

from penstock.v1 import registry_pb2 as pb

from ....rpc.messages import signature_from_message
from ... import records
from ...state import AliasChange, Audit, Key, Model, ModelView, Placement, State, Version, VersionView

FORMAT = 1


class Keys:
    """The names of all keys."""

    def __init__(self, prefix: str) -> None:
        self.root = f"/{prefix}/".encode()
        self.format = self("format")
        self.registry_id = self("registry_id")
        self.runs = self("runs")
        self.last_write = self("last_write")
        self.audits = self("audit", "")
        """What the keys of the log begin with."""

    def __call__(self, *parts: str) -> bytes:
        """The key of these parts."""
        return self.root + "/".join(parts).encode()

    def version(self, name: str, number: int) -> bytes:
        """Of a version."""
        return self("versions", name, f"{number:013d}")

    def change(self, name: str, run: int, count: int) -> bytes:
        """Of a change of an alias; each is greater than those before it."""
        return self("changes", name, f"{run:010d}-{count:010d}")

    def audit(self, number: int) -> bytes:
        """Of a line of the log; sorted by their keys they are in their order."""
        return self("audit", f"{number:019d}")

    def parts(self, key: bytes) -> list[str]:
        """What a key was made of."""
        return key.removeprefix(self.root).decode().split("/")


def exact(seconds: float) -> Timestamp:
    """Unix seconds to the nanosecond, so that the same number comes out again."""
    message = Timestamp()
    message.FromNanoseconds(round(Fraction(seconds) * 10**9))
    return message


def _seconds(message: Timestamp) -> float:
    return message.ToNanoseconds() / 10**9


def model_value(model: Model) -> bytes:
    """What is common to all versions."""
    view = ModelView(model.name, (), model.aliases, model.settings)
    message = records.model_to_message(view)
    for version in model.versions:
        message.versions.add().manifest.version = version.number
    return message.SerializeToString(deterministic=True)


def version_value(version: Version) -> bytes:
    """One version."""
    view = VersionView(version, version.instances, State.START, "", version.device, memory=version.memory)
    return records.model_to_message(ModelView("", (view,), {})).versions[0].SerializeToString(deterministic=True)


def change_value(change: AliasChange) -> bytes:
    """One change of an alias."""
    message = records.change_to_message(change)
    message.time.CopyFrom(exact(change.time))
    return message.SerializeToString()


def key_value(key: Key) -> bytes:
    """One API key."""
    message = records.key_to_message(key)
    message.created.CopyFrom(exact(key.created))
    return message.SerializeToString()


def model_from(value: bytes, versions: dict[int, Version], changes: Iterable[AliasChange]) -> Model:
    """A model from its parts."""
    message = pb.ModelRecord.FromString(value)
    return Model(
        message.name,
        tuple(versions[version.manifest.version] for version in message.versions),
        dict(message.aliases),
        tuple(changes),
        records.settings_from_message(message.settings),
    )


def version_from(value: bytes) -> Version:
    """One version."""
    message = pb.VersionRecord.FromString(value)
    return Version(
        records.manifest_from_message(message.manifest),
        signature_from_message(message.signature) if message.HasField("signature") else None,
        Placement(message.placement),
        message.desired_instances,
        message.device,
        message.memory_bytes,
    )


def change_from(value: bytes) -> AliasChange:
    """One change of an alias."""
    m = pb.AliasChange.FromString(value)
    return AliasChange(m.alias, m.version, m.previous_version, _seconds(m.time), m.principal)


def key_from(value: bytes) -> Key:
    """One API key."""
    m = pb.KeyRecord.FromString(value)
    return Key(m.key_id, m.name, tuple(m.scopes), m.sha256, _seconds(m.created))


def audit_value(audit: Audit) -> bytes:
    """One line of the log."""
    message = records.audit_to_message(audit)
    message.time.CopyFrom(exact(audit.time))
    return message.SerializeToString()


def audit_from(value: bytes) -> Audit:
    """One line of the log."""
    m = pb.AuditEntry.FromString(value)
    return Audit(_seconds(m.time), m.principal, m.action, m.subject, m.change, m.outcome, m.request_id, m.id)
