"""Every error that a caller can meet, with its status code and its reason.

One class for each thing that a caller can do something about. Servers raise them, `rpc.errors` writes them on the
wire, and clients raise the same classes again, so that `except penstock.errors.QueueFull` means the same on both sides.
The reasons are part of the contract: they are what programs test, the messages are for people.
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import DOMAIN, PenstockError, Violation
from .capacity import (
    Cancelled,
    ConcurrencyLimit,
    DeadlineExceeded,
    DeviceOutOfMemory,
    Draining,
    ExpiredInQueue,
    MemoryBudgetExceeded,
    MemoryPressure,
    ModelLoading,
    NoLiveWorker,
    PredictedLate,
    QueueFull,
    RegistryUnavailable,
    ResourceExhausted,
    SlowConsumer,
    StorageFull,
    StreamBroken,
    Unavailable,
    WorkerDraining,
    WorkerLost,
)
from .request import (
    AliasNotFound,
    AlreadyExists,
    ArchiveRefused,
    AuthInvalid,
    AuthMissing,
    BatchTooLarge,
    InvalidArgument,
    InvalidInput,
    InvalidTensor,
    MalformedRequest,
    ModelNotFound,
    NotFound,
    OriginNotAllowed,
    PermissionDenied,
    ScopeInsufficient,
    Unauthenticated,
    Unimplemented,
    VersionExists,
    VersionNotFound,
)
from .state import (
    Aborted,
    ArtifactCorrupt,
    Conflict,
    DataLoss,
    EmptyResponse,
    FailedPrecondition,
    Internal,
    LeaseFenced,
    ModelError,
    ModelLoadFailed,
    ModelNotDeployed,
    PoisonRequest,
    ServableIsGenerator,
    SignatureRefused,
    VersionNotAvailable,
)


def _descendants(cls: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


BY_REASON = {cls.reason: cls for cls in _descendants(PenstockError)}
"""The class for each reason of this domain."""

BY_CODE = {cls.code: cls for cls in PenstockError.__subclasses__()}
"""The class for a status that carries no reason, as the grpc library itself makes them."""

__all__ = [
    "BY_CODE",
    "BY_REASON",
    "DOMAIN",
    "Aborted",
    "AliasNotFound",
    "AlreadyExists",
    "ArchiveRefused",
    "ArtifactCorrupt",
    "AuthInvalid",
    "AuthMissing",
    "BatchTooLarge",
    "Cancelled",
    "ConcurrencyLimit",
    "Conflict",
    "DataLoss",
    "DeadlineExceeded",
    "DeviceOutOfMemory",
    "Draining",
    "EmptyResponse",
    "ExpiredInQueue",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "InvalidInput",
    "InvalidTensor",
    "LeaseFenced",
    "MalformedRequest",
    "MemoryBudgetExceeded",
    "MemoryPressure",
    "ModelError",
    "ModelLoadFailed",
    "ModelLoading",
    "ModelNotDeployed",
    "ModelNotFound",
    "NoLiveWorker",
    "NotFound",
    "OriginNotAllowed",
    "PenstockError",
    "PermissionDenied",
    "PoisonRequest",
    "PredictedLate",
    "QueueFull",
    "RegistryUnavailable",
    "ResourceExhausted",
    "ScopeInsufficient",
    "ServableIsGenerator",
    "SignatureRefused",
    "SlowConsumer",
    "StorageFull",
    "StreamBroken",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "VersionExists",
    "VersionNotAvailable",
    "VersionNotFound",
    "Violation",
    "WorkerDraining",
    "WorkerLost",
]
