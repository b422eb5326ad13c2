"""Errors on the wire: the only place where exceptions become statuses, and statuses exceptions again.

Every error of ours carries ErrorInfo{reason, domain, metadata}; no text of a foreign exception leaves the process;
message and details stay below what peers accept in trailers (4 KiB: above 8 KiB a client sees RESOURCE_EXHAUSTED
instead of the real status).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

from .. import errors

MAX_MESSAGE_BYTES = 512
MAX_DETAILS_BYTES = 4096
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

log = logging.getLogger("penstock.rpc")
Trailers = tuple[tuple[str, str | bytes], ...]


def as_penstock_error(error: BaseException, request_id: str, method: str) -> errors.PenstockError:
    """Ours stays as it is; anything else is logged under the request id and becomes INTERNAL without its text."""
    if isinstance(error, errors.PenstockError):
        return error.with_metadata(requestId=request_id)
    if isinstance(error, DecodeError):
        text = f"the request is not the message that {method} takes; generate stubs from the served protos"
        return errors.MalformedRequest(text).with_metadata(requestId=request_id)
    if isinstance(error, asyncio.TimeoutError):
        return errors.DeadlineExceeded("the deadline has passed").with_metadata(requestId=request_id)
    log.error("a bug: %s raised", method, exc_info=error, extra={"request_id": request_id})
    text = f"an error in the server; its log has the cause under request id {request_id}"
    return errors.Internal(text, metadata={"requestId": request_id})


def to_status(error: errors.PenstockError) -> status_pb2.Status:
    """The status with all details that fit."""
    message = error.message.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
    status = status_pb2.Status(code=error.code.value[0], message=message)
    for detail in _details(error):
        status.details.add().Pack(detail)
        if status.ByteSize() > MAX_DETAILS_BYTES:
            del status.details[-1]
    return status


def to_trailers(error: errors.PenstockError) -> Trailers:
    """The metadata that carries the details of an error."""
    trailers: list[tuple[str, str | bytes]] = [(DETAILS_KEY, to_status(error).SerializeToString())]
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after is not None:
        trailers.append((PUSHBACK_KEY, str(round(error.retry_after * 1000))))
    return tuple(trailers)


def _details(error: errors.PenstockError) -> Iterable[Message]:
    """In the order of their worth: the last ones are left out if there is no room."""
    yield details_pb.ErrorInfo(reason=error.reason, domain=errors.DOMAIN, metadata=error.metadata)
    if error.retry_after is not None:
        retry = details_pb.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after * 1000))
        yield retry
    if error.resource is not None:
        yield details_pb.ResourceInfo(resource_type=error.resource[0], resource_name=error.resource[1])
    if error.precondition is not None:
        subject = details_pb.PreconditionFailure.Violation(
            type=error.reason, subject=error.precondition, description=error.message[:MAX_MESSAGE_BYTES]
        )
        yield details_pb.PreconditionFailure(violations=[subject])
    if error.violations:
        yield _bad_request(error.violations)


def _bad_request(violations: Sequence[errors.Violation]) -> details_pb.BadRequest:
    bad = details_pb.BadRequest()
    for violation in violations:
        bad.field_violations.add(field=violation.field, description=violation.description[:256])
        if bad.ByteSize() > MAX_DETAILS_BYTES - 1024:
            del bad.field_violations[-1]
            break
    return bad


def from_rpc_error(error: grpc.RpcError) -> errors.PenstockError:
    """What a client raises for a call that failed. `error` is a grpc.aio.AioRpcError or a grpc.Call."""
    call: Any = error
    return from_status(call.code(), call.details() or "", call.trailing_metadata() or ())


def from_status(
    code: grpc.StatusCode, message: str, trailers: Iterable[tuple[str, str | bytes]]
) -> errors.PenstockError:
    """The exception for a status; of the class that its reason names, else its code."""
    status = status_pb2.Status()
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = _parsed(value)
    return from_message(status, code, message)


def from_message(
    status: status_pb2.Status, code: grpc.StatusCode | None = None, message: str = ""
) -> errors.PenstockError:
    """The exception for a google.rpc.Status, as PredictStream sends it."""
    code = code or _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    known: dict[str, Any] = {}
    for packed in status.details:
        _read_detail(packed, known)
    reason = known.get("reason") or ""
    cls = errors.BY_REASON.get(reason) or errors.BY_CODE.get(code, errors.PenstockError)
    known["reason"] = reason  # a library's status has none, whatever the class says
    known.setdefault("retry_after", None)
    error = cls(status.message or message, code=code, **known)
    error.retry_after = known["retry_after"]
    return error


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _parsed(value: bytes) -> status_pb2.Status:
    try:
        return status_pb2.Status.FromString(value)
    except DecodeError:
        return status_pb2.Status()


def _read_detail(packed: any_pb2.Any, known: dict[str, Any]) -> None:
    info, retry, bad = details_pb.ErrorInfo(), details_pb.RetryInfo(), details_pb.BadRequest()
    resource, failed = details_pb.ResourceInfo(), details_pb.PreconditionFailure()
    if packed.Unpack(info):
        known["reason"], known["metadata"] = info.reason, dict(info.metadata)
    elif packed.Unpack(retry):
        known["retry_after"] = retry.retry_delay.ToMilliseconds() / 1000
    elif packed.Unpack(bad):
        known["violations"] = [errors.Violation(v.field, v.description) for v in bad.field_violations]
    elif packed.Unpack(resource):
        known["resource"] = (resource.resource_type, resource.resource_name)
    elif packed.Unpack(failed) and failed.violations:
        known["precondition"] = failed.violations[0].subject
