"""Messages of PredictStream made of bytes: a question costs a dictionary look-up and a join, no serialiser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2

from penstock.v1.worker_pb2 import PredictStreamAnswer

_STEP = 1e-4
"""Seconds to which remaining times are rounded down, so that few different ones occur."""


def varint(value: int) -> bytes:
    """A length as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


class Questions:
    """PredictStreamRequests of prebuilt requests. Ids are eight hexadecimal digits, so that lengths never change."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self._bodies = [field(3, body) for body in bodies]
        self._tails: dict[tuple[int, int], bytes] = {}

    def question(self, index: int, left: float = 0.0) -> bytes:
        """One question.

        Args:
            index: which; its id and its body come of it.
            left: seconds until its deadline; 0: none.
        """
        key = (index % len(self._bodies), int(left / _STEP))
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = _timeout(key[1]) + self._bodies[key[0]]
        return b"\x0a\x08%08x" % index + tail


def _timeout(steps: int) -> bytes:
    if not steps:
        return b""
    duration = Duration()
    duration.FromMicroseconds(steps * 100)
    return field(2, duration.SerializeToString())


def coalesced(questions: Sequence[bytes]) -> bytes:
    """One message: the first question, and all others as its `more`."""
    return questions[0] + b"".join([field(4, question) for question in questions[1:]])


def answers(message: bytes) -> Iterator[tuple[int, status_pb2.Status | None]]:
    """Of every answer in a message: which question's it is, and the error if it is one. Tensors are not looked at."""
    first = PredictStreamAnswer.FromString(message)
    for answer in (first, *first.more):
        failed = answer.WhichOneof("result") == "error"
        yield int(answer.request_id, 16), answer.error if failed else None
