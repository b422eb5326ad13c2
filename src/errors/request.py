"""What the caller must mend: the request, or its rights."""

from __future__ import annotations

from grpc import StatusCode

from .base import PenstockError


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


class ArchiveRefused(InvalidArgument):
    """An archive cannot be read, holds what an archive must not hold, or too much. Nothing of it was kept."""

    reason = "ARCHIVE_REFUSED"


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


class OriginNotAllowed(PermissionDenied):
    """The registry does not read from there, whoever asks."""

    reason = "ORIGIN_NOT_ALLOWED"


class Unimplemented(PenstockError):
    """The server has no such method."""

    code, reason = StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"
