"""Calls of etcd, whichever member answers: bounded in time, and repeated on the next member when one fails.

etcd's gRPC API is spoken to directly (protos/penstock/etcd): five methods are all that is needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from penstock.etcd.v3 import etcd_pb2 as pb

from ....errors import InvalidArgument, PenstockError, RegistryUnavailable, StorageFull
from ....rpc.channel import client_options
from .address import Credentials, EtcdAddress

TIMEOUT_S = 2.0
"""For a call, whatever it takes."""
ATTEMPT_S = 0.9
"""For one member: a second one must have its chance."""

Answer = TypeVar("Answer", bound=Message)
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,  # "raft proposal dropped", "leader changed"
    grpc.StatusCode.INTERNAL,
)

log = logging.getLogger("penstock.registry")


class EtcdClient:
    """A connection to each member. Whoever makes it closes it.

    Args:
        address: the members.
        credentials: for TLS and etcd's own users.

    Raises:
        OSError: a file of the credentials cannot be read.
    """

    def __init__(self, address: EtcdAddress, credentials: Credentials | None = None) -> None:
        self._credentials = credentials or Credentials()
        secure = _tls(self._credentials) if address.tls else None
        self._channels = [_channel(endpoint, secure) for endpoint in address.endpoints]
        self._present = 0
        self._token = ""
        self.given_up = 0
        """The lease that was last to be revoked, whether etcd has heard it or not."""
        self._away = False
        """It was said that no member answers, and none has answered since."""

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """Read keys, as they are after all that was acknowledged."""
        return await self._call("/etcdserverpb.KV/Range", request, pb.RangeResponse)

    async def txn(
        self, compare: Sequence[pb.Compare], success: Sequence[pb.RequestOp], failure: Sequence[pb.RequestOp] = ()
    ) -> pb.TxnResponse:
        """Do all of it, or nothing. It may be sent twice: of its own writes, too, it must make its success depend.

        Raises:
            RegistryUnavailable: no member has answered; it may have been done, or be done later.
            StorageFull, InvalidArgument: it was not done.
        """
        request = pb.TxnRequest(compare=compare, success=success, failure=failure)
        return await self._call("/etcdserverpb.KV/Txn", request, pb.TxnResponse)

    async def grant(self, ttl_s: int) -> pb.LeaseGrantResponse:
        """Make a lease."""
        request = pb.LeaseGrantRequest(ttl=ttl_s)
        return await self._call("/etcdserverpb.Lease/LeaseGrant", request, pb.LeaseGrantResponse)

    async def revoke(self, lease: int) -> None:
        """End a lease and its keys."""
        self.given_up = lease
        await self._call("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeRequest(id=lease), pb.LeaseRevokeResponse)

    async def keep_alive(self, lease: int) -> int:
        """Prolong a lease; for how many seconds it holds from when this was called, 0 if it is over."""
        path, request = "/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveRequest(id=lease)
        answer = await self._call(path, request, pb.LeaseKeepAliveResponse, streams=True)
        return answer.ttl

    async def close(self) -> None:
        """End all connections."""
        for channel in self._channels:
            await channel.close()

    async def _call(self, path: str, request: Message, kind: type[Answer], *, streams: bool = False) -> Answer:
        """Ask one member after the other, until one answers or the time is over."""
        loop = asyncio.get_running_loop()
        end, failure = loop.time() + TIMEOUT_S, "it does not answer"
        renewed, tried, unsure = False, 0, False
        while (left := end - loop.time()) > 0 and tried < 2 * len(self._channels):
            number = self._present
            try:
                if self._credentials.user and not self._token:
                    await self._authenticate(number, min(left, ATTEMPT_S))
                answer = await self._attempt(number, path, request, kind, min(left, ATTEMPT_S), streams=streams)
                self._away = False
                return answer
            except grpc.RpcError as error:
                code, failure = error.code(), error.details() or ""
                if code is grpc.StatusCode.UNAUTHENTICATED and not renewed:
                    renewed, self._token = True, ""  # tokens end after five minutes
                    continue
                if code not in _PASSING and not unsure:
                    raise _refused(code, failure) from error
                unsure = True  # it may have been done: a later refusal says nothing about that
            if number == self._present:
                self._present = (number + 1) % len(self._channels)
            tried += 1
            await asyncio.sleep(0.02 * tried)
        if not self._away:
            log.warning("etcd cannot be reached: %s", failure[:200])
        self._away = True
        raise RegistryUnavailable("the registry's store cannot be reached; predictions go on, changes do not")

    async def _attempt(
        self, number: int, path: str, request: Message, kind: type[Answer], timeout: float, *, streams: bool
    ) -> Answer:
        channel: Any = self._channels[number]
        metadata = (("token", self._token),) if self._token else ()
        sent = request.SerializeToString()
        if not streams:
            return kind.FromString(await channel.unary_unary(path)(sent, timeout=timeout, metadata=metadata))
        call = channel.stream_stream(path)(timeout=timeout, metadata=metadata)
        try:
            await call.write(sent)
            answer = await call.read()
            return kind.FromString(answer) if isinstance(answer, bytes) else kind()  # it has ended: that is no answer
        finally:
            call.cancel()

    async def _authenticate(self, number: int, timeout: float) -> None:
        request = pb.AuthenticateRequest(name=self._credentials.user, password=self._credentials.password)
        path = "/etcdserverpb.Auth/Authenticate"
        answer = await self._attempt(number, path, request, pb.AuthenticateResponse, timeout, streams=False)
        self._token = answer.token


def _refused(code: grpc.StatusCode, text: str) -> PenstockError:
    """What etcd will not do now or later. Its words are for the operator's log and not for callers."""
    if code is not grpc.StatusCode.NOT_FOUND:  # a lease that was over already
        log.error("etcd refuses (%s): %s", code.name, text[:200])
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "space" in text:
        return StorageFull("etcd has no space left; compact and defragment it, or raise its quota")
    if "too large" in text or "too many operations" in text:
        return InvalidArgument("this is more than etcd takes at once (1.5 MiB); publish fewer files or labels")
    return RegistryUnavailable("the registry's store refuses it; the registry's log says why")


def _channel(endpoint: str, secure: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    options = (*client_options(), ("grpc.use_local_subchannel_pool", 1))
    if secure is None:
        return grpc.aio.insecure_channel(endpoint, options)
    return grpc.aio.secure_channel(endpoint, secure, options)


def _tls(credentials: Credentials) -> grpc.ChannelCredentials:
    files = (credentials.ca, credentials.key, credentials.certificate)
    ca, key, certificate = (path.read_bytes() if path else None for path in files)
    return grpc.ssl_channel_credentials(ca, key, certificate)
