"""How messages follow one another in a stream of bytes: each behind its length, the last one behind a mark.

    frame = length, 4 bytes, little-endian; that many bytes, an ExchangeRequest or ExchangeResponse, not empty
    last  = length with the highest bit set; that many bytes, a google.rpc.Status, empty if all is well

A stream that ends without the last frame was broken off. No sockets here: bytes in, messages out.
"""

from __future__ import annotations

from struct import Struct

from ..errors import MalformedRequest

_LENGTH = Struct("<I")
_LAST = 0x8000_0000
_JOINED_BYTES = 64 * 1024
_MAX_STATUS_BYTES = 64 * 1024


def frame(message: bytes) -> tuple[bytes, memoryview | None]:
    """A message as it is written: what comes first, and what comes then without having been copied.

    Small ones in one piece, since a write costs more than a copy; of great ones only the beginning is copied.
    """
    length = len(message)
    if length <= _JOINED_BYTES:
        return _LENGTH.pack(length) + message, None
    rest = memoryview(message)
    return b"".join((_LENGTH.pack(length), rest[:_JOINED_BYTES])), rest[_JOINED_BYTES:]


def last_frame(status: bytes) -> bytes:
    """The end of the stream."""
    return _LENGTH.pack(_LAST | len(status)) + status


class FrameReader:
    """The messages of one stream. One that came in pieces is joined once, whatever the number of pieces."""

    __slots__ = ("_ending", "_head", "_max_bytes", "_missing", "_pieces", "last")

    def __init__(self, max_bytes: int) -> None:
        """Refuse messages that are greater, by what they say of themselves."""
        self.last: bytes | None = None
        """The status in the last frame, once that has come; what comes after it is not read."""
        self._max_bytes = max_bytes
        self._head = b""  # less than a length
        self._pieces: list[bytes | memoryview] = []  # of a message of which bytes are missing
        self._missing = 0
        self._ending = False  # the frame under way is the last one

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes complete.

        Raises:
            MalformedRequest: a message is empty or too great. Nothing more must be fed.
        """
        messages: list[bytes] = []
        position = 0
        if self._missing:
            if len(data) < self._missing:
                self._pieces.append(data)
                self._missing -= len(data)
                return messages
            position = self._join(data, messages)
        elif self._head:
            data, self._head = self._head + data, b""
        if self.last is None:
            self._split(data, position, messages)
        return messages

    def _join(self, data: bytes, messages: list[bytes]) -> int:
        """Complete the message under way; returns where the next frame begins."""
        position = self._missing
        self._pieces.append(memoryview(data)[:position])
        message = b"".join(self._pieces)
        self._pieces.clear()
        self._missing = 0
        if self._ending:
            self.last = message
        else:
            messages.append(message)
        return position

    def _split(self, data: bytes, position: int, messages: list[bytes]) -> None:
        length_at, most, end = _LENGTH.unpack_from, self._max_bytes, len(data)
        while end - position >= 4:
            (length,) = length_at(data, position)
            if not 0 < length <= most:
                length = self._last_length(length)
            start = position + 4
            position = start + length
            if position > end:
                self._pieces.append(memoryview(data)[start:])
                self._missing = position - end
                return
            if self._ending:
                self.last = data[start:position]
                return
            messages.append(data[start:position])
        self._head = data[position:]

    def _last_length(self, length: int) -> int:
        if not length & _LAST:
            raise MalformedRequest(f"a frame of {length} bytes: it must have 1 to {self._max_bytes}")
        self._ending = True
        length -= _LAST
        if length > _MAX_STATUS_BYTES:
            raise MalformedRequest(f"a last frame of {length} bytes: it may have {_MAX_STATUS_BYTES}")
        return length
