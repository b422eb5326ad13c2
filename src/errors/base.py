"""What all errors have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
