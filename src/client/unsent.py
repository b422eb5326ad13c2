"""What is asked on a stream and not yet sent, and the messages that it leaves in. Decisions only."""

from __future__ import annotations

import math
from collections import OrderedDict

from .wire import duration, varint

MAX_QUESTIONS = 256
MAX_BYTES = 256 * 1024
"""Of one message, which is larger only if it is one question that is."""

_REQUEST_ID, _TIMEOUT, _REQUEST, _MORE, _SPLIT_KEY = b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a"
"""Of PredictStreamRequest."""


class Unsent:
    """Questions in the order in which they were asked. What collects while a message is written leaves in the next."""

    def __init__(self) -> None:
        self._line: OrderedDict[str, tuple[float, bytes, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._line

    def add(self, request_id: str, deadline: float, body: bytes, split_key: str = "") -> None:
        """Put a question at the end.

        Args:
            request_id: unique on the stream.
            deadline: on the clock of `take`; may be infinite.
            body: a PredictRequest.
            split_key: see PredictStreamRequest.
        """
        self._line[request_id] = deadline, body, split_key

    def drop(self, request_id: str) -> None:
        """Forget a question, if it is still there: nobody waits for the answer any more."""
        self._line.pop(request_id, None)

    def clear(self) -> None:
        """Forget all."""
        self._line.clear()

    def take(self, now: float) -> bytes:
        """The next PredictStreamRequest; empty if there is none. What is past its deadline is not sent."""
        parts: list[bytes] = []
        size = count = 0
        while self._line and count < MAX_QUESTIONS:
            request_id, (deadline, body, split_key) = self._line.popitem(last=False)
            if deadline <= now:
                continue
            if count and size + len(body) > MAX_BYTES:
                self._line[request_id] = deadline, body, split_key
                self._line.move_to_end(request_id, last=False)
                break
            head = _head(request_id, deadline - now, len(body), split_key)
            size += len(head) + len(body)
            parts += (_MORE, varint(len(head) + len(body)), head, body) if count else (head, body)
            count += 1
        return b"".join(parts)


def _head(request_id: str, timeout: float, size: int, split_key: str) -> bytes:
    """All of a PredictStreamRequest that stands before its question of `size` bytes."""
    name = request_id.encode()
    limit = b""
    key = split_key.encode()
    split = _SPLIT_KEY + varint(len(key)) + key if key else b""
    if not math.isinf(timeout):
        limit = duration(timeout)
        limit = _TIMEOUT + varint(len(limit)) + limit
    return b"".join((_REQUEST_ID, varint(len(name)), name, limit, split, _REQUEST, varint(size)))
