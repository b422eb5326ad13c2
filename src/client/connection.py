"""Where a client connects, as whom, and what holds for its calls unless they say otherwise. Both clients use it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any, Literal

import grpc

from ..errors import PenstockError
from ..lanes import PRIORITIES
from ..rpc.channel import Options, client_options
from ..rpc.errors import from_rpc_error
from .prediction import REQUEST_ID, TIMINGS
from .retry import Attempts

FAREWELL_S = 1.0
"""How long a server may take to end a stream whose questions are all answered, before it is cut."""
ENDED_EARLY = "the server ended the stream before all was answered"
SPLIT_KEY = "x-penstock-split-key"
DEFAULT_ADDRESS = "127.0.0.1:8001"
Headers = tuple[tuple[str, str | bytes], ...]
Priority = Literal["high", "normal", "low"]


@dataclass(frozen=True, slots=True)
class Connection:
    """Settings of a client; they never change."""

    address: str
    headers: Headers
    """Sent with every call."""
    options: Options
    timeout: float
    """Seconds, for calls that do not say; may be infinite."""
    retries: int
    random: Random = field(default_factory=Random)

    def headers_of(
        self,
        request_id: str | None = None,
        timings: bool = False,
        priority: Priority = "normal",
        split_key: str | None = None,
    ) -> Headers:
        """The metadata of one call.

        Raises:
            ValueError: there is no such priority.
        """
        if not request_id and not timings and priority == "normal" and not split_key:
            return self.headers
        if priority not in PRIORITIES:
            raise ValueError(f"priority is one of {', '.join(PRIORITIES)}; got {priority!r}")
        own: Headers = ((REQUEST_ID, request_id),) if request_id else ()
        lane: Headers = (("x-penstock-priority", priority),) if priority != "normal" else ()
        key: Headers = ((SPLIT_KEY, split_key),) if split_key else ()
        return self.headers + own + lane + key + (((TIMINGS, "on"),) if timings else ())

    def stream_headers(self, request_id: str, priority: Priority) -> Headers:
        """The metadata of a stream of questions; it says that several answers may come in one message.

        Raises:
            ValueError: there is no such priority.
        """
        return (*self.headers_of(request_id, priority=priority), ("x-penstock-coalesce", "on"))

    def timeout_of(self, timeout: float | None) -> float:
        """Seconds for one call; None: the client's own."""
        return self.timeout if timeout is None else timeout

    def attempts(self, timeout: float | None) -> Attempts:
        """The attempts of one call that begins now."""
        return self.attempts_until(monotonic() + self.timeout_of(timeout))

    def attempts_until(self, deadline: float) -> Attempts:
        """The attempts of one call that must be over then, on the monotonic clock."""
        return Attempts(self.retries, deadline, self.random)


def connection(
    address: str | None,
    api_key: str | None,
    timeout: float | None,
    retries: int,
    metadata: Iterable[tuple[str, str | bytes]],
    channel_options: Iterable[tuple[str, Any]],
) -> Connection:
    """Settings from what a client was given and, for address and key, from the environment.

    Raises:
        ValueError: a negative number of retries.
    """
    if retries < 0:
        raise ValueError(f"retries must not be negative, got {retries}")
    address = address or os.environ.get("PENSTOCK_ADDRESS") or DEFAULT_ADDRESS
    key = os.environ.get("PENSTOCK_API_KEY") if api_key is None else api_key
    credential: Headers = (("authorization", f"Bearer {key}"),) if key else ()
    options = {**dict(client_options()), **dict(channel_options)}
    limit = math.inf if timeout is None else timeout
    return Connection(address, (*credential, *metadata), tuple(options.items()), limit, retries)


def failure(error: grpc.RpcError) -> PenstockError:
    """The error that a failed call raises; the library's own have no request id, but the trailers may."""
    known = from_rpc_error(error)
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str):
            known.with_metadata(requestId=value)
    return known


def broken(error: grpc.RpcError) -> PenstockError:
    """The same, raised later than where it was caught, for one of several questions."""
    known = failure(error)
    known.__cause__ = error
    return known
