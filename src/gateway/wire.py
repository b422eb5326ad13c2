"""Just enough of protobuf's wire format to read a field and to wrap bytes, without touching what lies inside.

Source: protobuf.dev/programming-guides/encoding. Decisions only.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import MalformedRequest

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_TAG, _MAX_LENGTH, _MAX_VALUE = 2**32 - 1, 2**31 - 1, 2**64 - 1


def fields(message: bytes) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each length-delimited field at the top level; others are skipped.

    Raises:
        MalformedRequest: this is not a protobuf message.
    """
    at, size = 0, len(message)
    while at < size:
        tag, at = _varint(message, at, _MAX_TAG)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(message, at, _MAX_LENGTH)
            end = at + length
            if end <= size:
                yield tag >> 3, at, end
        elif kind == _VARINT:
            _, end = _varint(message, at, _MAX_VALUE)
        elif kind in (_FIXED64, _FIXED32):
            end = at + (8 if kind == _FIXED64 else 4)
        else:
            raise _malformed()
        if end > size or not tag >> 3:
            raise _malformed()
        at = end


def field(message: bytes, number: int) -> bytes | None:
    """The content of the first length-delimited field of that number; None if there is none."""
    for found, begin, end in fields(message):
        if found == number:
            return message[begin:end]
    return None


def wrap(number: int, content: bytes) -> bytes:
    """The content as a length-delimited field."""
    return _to_varint(number << 3 | _BYTES) + _to_varint(len(content)) + content


def _varint(message: bytes, at: int, most: int) -> tuple[int, int]:
    """A number of at most `most`, in no more bytes than that needs, as protobuf's own parser demands."""
    value = shift = 0
    while at < len(message) and most >> shift:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            if value > most:
                break
            return value, at
        shift += 7
    raise _malformed()


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _malformed() -> MalformedRequest:
    return MalformedRequest("the request is not a protobuf message; generate stubs from the served protos")
