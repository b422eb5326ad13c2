"""What must be mended elsewhere first: the state of a model, of the registry, of a file, or a mistake in code."""

from __future__ import annotations

from grpc import StatusCode

from .base import PenstockError


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


class SignatureRefused(FailedPrecondition):
    """The version is not signed by a key that is trusted, or is not what was signed."""

    reason = "SIGNATURE_REFUSED"


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


class Internal(PenstockError):
    """A mistake in the servers; report it with the request id."""

    code, reason = StatusCode.INTERNAL, "INTERNAL"


class PoisonRequest(Internal):
    """It was running when two workers died, and is not run again for a while."""

    reason = "POISON_REQUEST"


class ModelError(Internal):
    """The model's own code raised."""

    reason = "MODEL_ERROR"


class EmptyResponse(Internal):
    """A worker said OK and sent nothing."""

    reason = "EMPTY_RESPONSE"
