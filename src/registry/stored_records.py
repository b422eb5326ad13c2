"""Between the registry's models and what an archive has of them, both ways and whole."""

from __future__ import annotations

from dataclasses import replace

from penstock.v1 import registry_pb2 as pb

from ..rpc.messages import signature_from_message, signature_to_message
from .records import (
    change_to_message,
    manifest_from_message,
    manifest_to_message,
    settings_from_message,
    settings_to_message,
)
from .state import AliasChange, Model, Placement, Version


def stored_to_message(model: Model) -> pb.StoredModel:
    """As it goes into an archive: without splits, shadows and canaries, which belong to the traffic of one place."""
    return pb.StoredModel(
        name=model.name,
        versions=[_version_to_message(version) for version in model.versions],
        aliases=model.aliases,
        alias_changes=map(change_to_message, model.changes),
        settings=settings_to_message(replace(model.settings, traffic=())),
    )


def stored_from_message(message: pb.StoredModel) -> Model:
    """As it is used inside; not checked.

    Raises:
        ValueError: a placement or a dtype that this release does not know.
    """
    return Model(
        message.name,
        tuple(_version_from_message(version) for version in message.versions),
        dict(message.aliases),
        tuple(_change_from_message(change) for change in message.alias_changes),
        replace(settings_from_message(message.settings), traffic=()),
    )


def _version_to_message(version: Version) -> pb.StoredVersion:
    return pb.StoredVersion(
        manifest=manifest_to_message(version.manifest),
        signature=signature_to_message(version.signature) if version.signature else None,
        placement=int(version.placement),  # type: ignore[arg-type]
        instances=version.instances,
        device=version.device,
        memory_bytes=version.memory,
    )


def _version_from_message(message: pb.StoredVersion) -> Version:
    return Version(
        manifest_from_message(message.manifest),
        signature_from_message(message.signature) if message.HasField("signature") else None,
        Placement(message.placement),
        message.instances,
        message.device,
        message.memory_bytes,
    )


def _change_from_message(message: pb.AliasChange) -> AliasChange:
    time = message.time.seconds + message.time.nanos / 1e9  # not ToMilliseconds: it may hold what no datetime can
    return AliasChange(message.alias, message.version, message.previous_version, time, message.principal)
