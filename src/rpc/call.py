"""What the code inside a call sees of it, whatever carries it: grpc.aio today, other carriers later."""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field

from .access import ANONYMOUS, Principal

REQUEST_ID = "x-request-id"
_PLAIN = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass(slots=True, eq=False)
class Call:
    """One RPC, from its headers to its status. Belongs to the task that serves it."""

    method: str
    """The full name, `/package.Service/Method`."""
    metadata: dict[str, str | bytes]
    """What the caller sent; of keys sent twice, the last."""
    request_id: str
    """Accepted from `x-request-id` or made here; sent on to workers, written to logs, returned with every error, and to
    callers who sent one or asked for more than the answer."""
    peer: str = ""
    """Where the caller is, in gRPC's notation: `ipv4:127.0.0.1:5000`, `unix:`."""
    deadline: float = math.inf
    """In the event loop's time; infinite when the caller set none."""
    principal: Principal = ANONYMOUS
    cancelled: bool = False
    """The caller has gone away. The task is then being cancelled."""
    trailers: list[tuple[str, str | bytes]] = field(default_factory=list)
    """Sent with the status, whatever it is."""
    facts: dict[str, object] = field(default_factory=dict)
    """What the access log shall say besides: `model`, `version`, `worker`, `attempts`."""

    def text(self, key: str) -> str:
        """The value of a text header; empty if it is not there."""
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def time_remaining(self) -> float:
        """Seconds until the deadline; infinite without one, negative after it."""
        return self.deadline - asyncio.get_running_loop().time()


Concern = Callable[[Call], AbstractContextManager[None]]
"""Something that happens around a call: entered when the request is there, left when its outcome is known."""

Gate = Callable[[Call], None]
"""Something that may refuse a call by raising, before a byte of its body is read."""

current_call: ContextVar[Call] = ContextVar("current_call")
"""The call that this task serves."""


def new_call(method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Call:
    """A call from its headers, with a request id that is safe to log."""
    headers = dict(metadata)
    given = headers.get(REQUEST_ID)
    accepted = isinstance(given, str) and _PLAIN.fullmatch(given)
    return Call(method, headers, str(given) if accepted else new_request_id())


def new_request_id() -> str:
    """128 random bits as hexadecimal digits."""
    return os.urandom(16).hex()
