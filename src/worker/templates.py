"""Where the tensors' bytes stand in messages of a layout that has been seen before: those need no parsing.

Services send the same request again and again, with other numbers in it. All that is not raw elements is compared byte
by byte, so that two messages of one layout mean the same in everything but their elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

MAX_LITERAL_BYTES = 4096
"""Of one layout. What callers pad with unknown fields must not fill the memory."""
_MOST = 256
_MOST_OF_A_LENGTH = 8

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TENSORS, _RAW = 2, 4  # the same numbers in requests and answers

Message = bytes | memoryview
Place = tuple[int, int]
"""Begin and end."""
T = TypeVar("T")


def raw_places(message: Message) -> list[Place] | None:
    """The place of `raw` in each tensor of a request or an answer, which protobuf has found to be well-formed.

    Returns:
        One for each tensor, in order; None if a tensor has none, or more than one, or the message is unusual.
    """
    try:
        return [_only(message, tensor) for tensor in _fields(message, (0, len(message)), _TENSORS)]
    except (ValueError, IndexError):
        return None


def _only(message: Message, tensor: Place) -> Place:
    [place] = _fields(message, tensor, _RAW)
    return place


def _fields(message: Message, within: Place, number: int) -> Iterator[Place]:
    """The contents of a length-delimited field. Raises ValueError or IndexError where it does not understand."""
    at, end = within
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(message, at)
            if tag >> 3 == number:
                yield at, at + length
            at += length
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("groups are not used here")
    if at != end:
        raise ValueError("a field goes past the end")


def _varint(message: Message, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def literals(message: Message, places: Sequence[Place]) -> list[tuple[int, bytes]]:
    """What stands before, between and after the places, each with where it begins; `places` are in order."""
    begins = [0, *(end for _, end in places)]
    ends = [*(begin for begin, _ in places), len(message)]
    return [(begin, bytes(message[begin:end])) for begin, end in zip(begins, ends, strict=True)]


class Templates(Generic[T]):
    """What was learned from messages: a value for each layout. Bounded; forgets the oldest."""

    def __init__(self) -> None:
        # By the length of the message, since that is known first. Few layouts share one.
        self._known: dict[int, list[tuple[list[tuple[int, int, bytes]], T]]] = {}
        self._count = 0

    def find(self, message: Message) -> T | None:
        """What `learn` was given with a message that differs from this one in its raw elements at most."""
        for fixed, value in self._known.get(len(message), ()):
            for begin, end, literal in fixed:
                if message[begin:end] != literal:
                    break
            else:
                return value
        return None

    def learn(self, message: Message, places: Sequence[Place], value: T) -> None:
        """Remember a layout by a message that has it, unless that would take too much memory.

        Args:
            message: any of the layout.
            places: of its raw elements, see `raw_places`.
            value: what `find` is to give.
        """
        fixed = [(begin, begin + len(literal), literal) for begin, literal in literals(message, places) if literal]
        if sum(len(literal) for _, _, literal in fixed) > MAX_LITERAL_BYTES:
            return
        if self._count >= _MOST:
            self._known.clear()
            self._count = 0
        same = self._known.setdefault(len(message), [])
        if len(same) >= _MOST_OF_A_LENGTH:
            del same[0]
            self._count -= 1
        same.append((fixed, value))
        self._count += 1
