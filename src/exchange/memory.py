"""Shared memory of one direction of one connection: one side writes, the other reads where it lies.

It is an anonymous file (memfd) that travels over the connection's own socket: it has no name, so that nobody else can
open it, and the kernel frees it when both sides have gone, in whatever way. It is sealed against every change of size,
so that no side can make the other one fault.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
from bisect import bisect_left

from ..errors import MalformedRequest

ARENA_BYTES = 64 * 1024 * 1024
"""Of address space for each direction. Pages cost memory only once they have been written."""
MAX_ARENA_BYTES = 1024 * 1024 * 1024
_ALIGNMENT = 64


class Arena:
    """The writer's side: a bounded allocator. Takes the first hole that fits, so that few pages are ever touched."""

    def __init__(self, size: int = ARENA_BYTES) -> None:
        """Make one.

        Args:
            size: in bytes; rounded up to whole pages.

        Raises:
            OSError: this system has no sealed anonymous files, or none is left.
        """
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self.used = 0
        """Bytes in blocks that the reader has not released."""
        self.descriptor = _sealed(self.size)
        """To be sent to the reader, then closed with `sent`."""
        try:
            self._map = mmap.mmap(self.descriptor, self.size)
        except BaseException:
            os.close(self.descriptor)
            raise
        self._blocks: dict[int, int] = {}
        # Holes in the order of their places; neighbours are always joined, so that there are at most as many as blocks.
        self._holes = [0]
        self._lengths = [self.size]

    def sent(self) -> None:
        """The reader has its own descriptor: this one is not needed any more. The second time it does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def put(self, data: bytes | memoryview) -> tuple[int, int] | None:
        """Copy bytes in; returns (offset, size), or None if there is no room: then they go another way.

        They stay until `release(offset)`.
        """
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        offset = self._take(max(-(-size // _ALIGNMENT), 1) * _ALIGNMENT)
        if offset is None:
            return None
        self._map[offset : offset + size] = data
        return offset, size

    def release(self, offset: int) -> None:
        """The reader is done with a block. What is no block's offset is ignored."""
        length = self._blocks.pop(offset, None)
        if length is None:
            return
        self.used -= length
        self._free(offset, length)

    def close(self) -> None:
        """Give the memory up; nothing can be put any more. The reader keeps what it has mapped."""
        self.sent()
        self._blocks.clear()
        self._holes.clear()
        self._lengths.clear()
        self.used = 0
        self._map.close()

    def _take(self, length: int) -> int | None:
        for index, hole in enumerate(self._lengths):
            if hole >= length:
                return self._cut(index, length)
        return None

    def _cut(self, index: int, length: int) -> int:
        """Make the beginning of a hole a block."""
        offset = self._holes[index]
        if self._lengths[index] == length:
            del self._holes[index], self._lengths[index]
        else:
            self._holes[index] += length
            self._lengths[index] -= length
        self._blocks[offset] = length
        self.used += length
        return offset

    def _free(self, offset: int, length: int) -> None:
        """Make a hole, joined with those right before and after it."""
        holes, lengths = self._holes, self._lengths
        index = bisect_left(holes, offset)
        if index < len(holes) and offset + length == holes[index]:
            holes[index] = offset
            lengths[index] += length
        else:
            holes.insert(index, offset)
            lengths.insert(index, length)
        if index > 0 and holes[index - 1] + lengths[index - 1] == offset:
            lengths[index - 1] += lengths[index]
            del holes[index], lengths[index]


class View:
    """The reader's side: the other one's arena, read-only."""

    def __init__(self, descriptor: int) -> None:
        """Map what was received. The descriptor stays the caller's.

        Raises:
            OSError: it is not a sealed anonymous file of a reasonable size; reading it could end this process.
        """
        self._size = _checked_size(descriptor)
        self._map: mmap.mmap | None = mmap.mmap(descriptor, self._size, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)

    def read(self, offset: int, size: int) -> memoryview:
        """A block where it lies; it keeps the memory mapped, and changes once the block is released.

        Raises:
            MalformedRequest: it is out of bounds, or the link is closed.
        """
        if offset < 0 or size < 0 or offset + size > self._size:
            raise MalformedRequest(f"a block of {size} bytes at {offset} is not within the shared memory")
        return self._view[offset : offset + size]

    def close(self) -> None:
        """Nothing can be read any more; what has been stays mapped for as long as somebody looks at it."""
        mapped, self._map, self._size = self._map, None, -1  # nothing is within
        self._view.release()
        if mapped is not None:
            with contextlib.suppress(BufferError):  # somebody still looks: unmapped when the last one has gone
                mapped.close()


class SharedMemory:
    """Both directions of one connection."""

    __slots__ = ("mine", "theirs")

    def __init__(self, mine: Arena, theirs: View) -> None:
        self.mine = mine
        self.theirs = theirs

    def close(self) -> None:
        """Give up both."""
        self.mine.close()
        self.theirs.close()


if sys.platform == "linux":
    _SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

    def _sealed(size: int) -> int:
        descriptor = os.memfd_create("penstock", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _checked_size(descriptor: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise OSError("the shared memory is not sealed: the other side could take it away while it is read")
        size = os.fstat(descriptor).st_size
        if not 0 < size <= MAX_ARENA_BYTES:
            raise OSError(f"shared memory of {size} bytes is none, or more than {MAX_ARENA_BYTES}")
        return size

else:

    def _sealed(size: int) -> int:
        raise OSError("shared memory needs Linux")

    def _checked_size(descriptor: int) -> int:
        raise OSError("shared memory needs Linux")
