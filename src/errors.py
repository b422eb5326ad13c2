"""Every error that a caller can meet, with its status code and its reason.

One class for each thing that a caller can do something about. Servers raise them, `rpc.errors` writes them on the
wire, and clients raise the same classes again, so that `except penstock.errors.QueueFull` means the same on both sides.
The reasons are part of the contract: they are what programs test, the messages are for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from grpc import StatusCode

DOMAIN = "penstock.dev"
"""The `domain` of every ErrorInfo (AIP-193)."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request: where (`inputs[2].shape`), and what."""

    field: str
    description: str


class PenstockError(Exception):
    """The base of all errors; raised as such only by clients, for a status whose code has no class here.

    Args:
        message: what, where, and how to mend it; at most 512 bytes go on the wire. Never the text of another exception.
        violations: for INVALID_ARGUMENT, each thing that is wrong (google.rpc.BadRequest).
        resource: for NOT_FOUND and ALREADY_EXISTS, type and name (google.rpc.ResourceInfo).
        precondition: for FAILED_PRECONDITION, the subject that is not as it must be (google.rpc.PreconditionFailure).
        retry_after: seconds after which a retry makes sense (google.rpc.RetryInfo); None: do not say.
        metadata: for programs, in ErrorInfo: keys such as `model`, `version`, `requestId`.
        code: instead of the class's own.
        reason: instead of the class's own.
    """

    code: StatusCode = StatusCode.UNKNOWN
    reason: str = ""
    default_retry_after: ClassVar[float | None] = None

    def __init__(
        self,
        message: str,
        *,
        violations: Sequence[Violation] = (),
        resource: tuple[str, str] | None = None,
        precondition: str | None = None,
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
        code: StatusCode | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)
        self.resource = resource
        self.precondition = precondition
        self.retry_after = self.default_retry_after if retry_after is None else retry_after
        self.metadata = dict(metadata or {})
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    @property
    def request_id(self) -> str:
        """The id under which the servers' logs name this call; empty when the server did not say it."""
        return self.metadata.get("requestId", "")

    def with_metadata(self, **metadata: str) -> Self:
        """Add what the raiser did not know, keep what it did; returns itself."""
        self.metadata = {**metadata, **self.metadata}
        return self

    def __str__(self) -> str:
        return f"{self.code.name}{f' ({self.reason})' if self.reason else ''}: {self.message}"


class InvalidArgument(PenstockError):
    """The request is wrong whatever the state of the servers; mend it."""

    code, reason = StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"


class MalformedRequest(InvalidArgument):
    """The bytes are not the message that the method takes."""

    reason = "MALFORMED_REQUEST"


class InvalidTensor(InvalidArgument):
    """An input is missing, unknown or double, or its name, dtype, shape or byte length does not fit the signature."""

    reason = "INVALID_TENSOR"


class BatchTooLarge(InvalidArgument):
    """The request alone has more rows than the model takes at once."""

    reason = "BATCH_TOO_LARGE"


class InvalidInput(InvalidArgument):
    """A servable refuses the values. Servables raise this themselves; the message goes to the caller."""

    reason = "INVALID_INPUT"


class NotFound(PenstockError):
    """What the request names does not exist."""

    code, reason = StatusCode.NOT_FOUND, "NOT_FOUND"


class ModelNotFound(NotFound):
    """There is no such model."""

    reason = "MODEL_NOT_FOUND"


class VersionNotFound(NotFound):
    """The model has no such version."""

    reason = "VERSION_NOT_FOUND"


class AliasNotFound(NotFound):
    """The model has no such alias."""

    reason = "ALIAS_NOT_FOUND"


class AlreadyExists(PenstockError):
    """What shall be made exists and is different."""

    code, reason = StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"


class VersionExists(AlreadyExists):
    """The version is published with other content. Versions never change: take another number."""

    reason = "VERSION_EXISTS"


class FailedPrecondition(PenstockError):
    """The state must be changed first."""

    code, reason = StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION"


class ModelLoadFailed(FailedPrecondition):
    """The version could not be loaded, and no worker holds it."""

    reason = "MODEL_LOAD_FAILED"


class ModelNotDeployed(FailedPrecondition):
    """The version exists but is not to be loaded."""

    reason = "MODEL_NOT_DEPLOYED"


class VersionNotAvailable(FailedPrecondition):
    """An alias cannot mean a version that no worker holds yet."""

    reason = "VERSION_NOT_AVAILABLE"


class ServableIsGenerator(FailedPrecondition):
    """The model answers many times; it is asked by Generate, not by Predict."""

    reason = "SERVABLE_IS_GENERATOR"


class Unavailable(PenstockError):
    """Not now. The call was not run, or can safely be run again."""

    code, reason = StatusCode.UNAVAILABLE, "UNAVAILABLE"
    default_retry_after = 1.0


class ModelLoading(Unavailable):
    """The version is being loaded."""

    reason = "MODEL_LOADING"


class NoLiveWorker(Unavailable):
    """The version should be served, but no worker is there at the moment."""

    reason = "NO_LIVE_WORKER"


class WorkerDraining(Unavailable):
    """The worker is about to end; others, or its successor, answer."""

    reason = "WORKER_DRAINING"
    default_retry_after = 0.0


class WorkerLost(Unavailable):
    """The connection to the worker broke while it held the request."""

    reason = "WORKER_LOST"
    default_retry_after = 0.0


class StreamBroken(Unavailable):
    """The worker was lost after the first of several answers; only the caller knows whether to ask again."""

    reason = "STREAM_BROKEN"


class Draining(Unavailable):
    """This server is stopping; connect again."""

    reason = "SERVER_DRAINING"
    default_retry_after = 0.0


class RegistryUnavailable(Unavailable):
    """The registry cannot be reached."""

    reason = "REGISTRY_UNAVAILABLE"


class ResourceExhausted(PenstockError):
    """A bound is reached."""

    code, reason = StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"


class QueueFull(ResourceExhausted):
    """As many requests wait as may wait."""

    reason = "QUEUE_FULL"
    default_retry_after = 0.1


class ConcurrencyLimit(ResourceExhausted):
    """As many requests are in flight as may be."""

    reason = "CONCURRENCY_LIMIT"
    default_retry_after = 0.1


class SlowConsumer(ResourceExhausted):
    """A caller did not read its answers as fast as the model gave them."""

    reason = "SLOW_CONSUMER"


class DeviceOutOfMemory(ResourceExhausted):
    """The device has not enough memory even for this request alone."""

    reason = "GPU_OUT_OF_MEMORY"


class StorageFull(ResourceExhausted):
    """The disk of the registry is full."""

    reason = "STORAGE_FULL"


class DeadlineExceeded(PenstockError):
    """The time given by the caller is over."""

    code, reason = StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"


class ExpiredInQueue(DeadlineExceeded):
    """The time was over before the request was run; it was not run."""

    reason = "EXPIRED_IN_QUEUE"


class Cancelled(PenstockError):
    """The caller gave up."""

    code, reason = StatusCode.CANCELLED, "CANCELLED"


class Unauthenticated(PenstockError):
    """It is not known who is calling."""

    code, reason = StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"


class AuthMissing(Unauthenticated):
    """There is no credential."""

    reason = "AUTH_MISSING"


class AuthInvalid(Unauthenticated):
    """The credential is not good. One text for all causes."""

    reason = "AUTH_INVALID"


class PermissionDenied(PenstockError):
    """The caller is known and may not do this."""

    code, reason = StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"


class ScopeInsufficient(PermissionDenied):
    """None of the caller's scopes allows it; `requiredScope` in the metadata would."""

    reason = "SCOPE_INSUFFICIENT"


class Aborted(PenstockError):
    """Somebody else was faster; read again and decide again."""

    code, reason = StatusCode.ABORTED, "ABORTED"


class Conflict(Aborted):
    """A compare-and-swap found another value."""

    reason = "CONFLICT"


class LeaseFenced(Aborted):
    """The lease is over, or a newer one exists."""

    reason = "LEASE_FENCED"


class DataLoss(PenstockError):
    """Bytes are not what they were."""

    code, reason = StatusCode.DATA_LOSS, "DATA_LOSS"


class ArtifactCorrupt(DataLoss):
    """A file's content does not have the digest that it must have."""

    reason = "ARTIFACT_CORRUPT"


class Unimplemented(PenstockError):
    """The server has no such method."""

    code, reason = StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"


class Internal(PenstockError):
    """A mistake in the servers; report it with the request id."""

    code, reason = StatusCode.INTERNAL, "INTERNAL"


class ModelError(Internal):
    """The model's own code raised."""

    reason = "MODEL_ERROR"


class EmptyResponse(Internal):
    """A worker said OK and sent nothing."""

    reason = "EMPTY_RESPONSE"


def _descendants(cls: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


BY_REASON = {cls.reason: cls for cls in _descendants(PenstockError)}
"""The class for each reason of this domain."""

BY_CODE = {cls.code: cls for cls in PenstockError.__subclasses__()}
"""The class for a status that carries no reason, as the grpc library itself makes them."""
