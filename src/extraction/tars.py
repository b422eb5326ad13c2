"""Gzipped tars: a member is judged when its header is read; those behind it are not known yet."""

from __future__ import annotations

import gzip
import stat
import tarfile
from typing import Any

from ..errors import ArchiveRefused
from .bounded import Bounded
from .rules import Judge, Path, shown
from .writing import Writing

_HEADERS = 4096
"""Bytes of headers for each member that is allowed."""
_LONGEST = 256 * 1024
"""Bytes of one member's headers."""


class _Metered:
    """The unpacked tar, in one direction, and only as much of it as is allowed: headers may be of any size."""

    def __init__(self, file: Bounded) -> None:
        self._file = gzip.GzipFile(fileobj=file)
        self.allowed = _LONGEST
        """Bytes that may still be read."""
        self.last = b""
        """What was read last."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.allowed:
            raise ArchiveRefused("it has headers that are too long")
        self.allowed -= size
        self.last = self._file.read(size)
        return self.last

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        self.read(position - self.tell())
        return position

    def close(self) -> None:
        self._file.close()


def extract_tar(file: Bounded, writing: Writing, judge: Judge, members: int) -> None:
    """Unpack one.

    Raises:
        ArchiveRefused: something in it is not allowed; tarfile and zlib raise other things where it cannot be read.
    """
    unpacked, headers = _Metered(file), members * _HEADERS
    source: Any = unpacked  # the stubs want a file that can be written, too
    with tarfile.open(fileobj=source, mode="r:") as archive:
        allowed = _LONGEST
        while (member := archive.next()) is not None:
            headers -= allowed - unpacked.allowed
            path = _judged(member, judge)
            if member.isdir():
                writing.folder(path)
            else:
                unpacked.allowed = member.size
                writing.file(path, member.size, unpacked.read)
            unpacked.allowed = allowed = max(min(_LONGEST, headers), 0)
    if unpacked.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes a header that it cannot read for the end
        raise tarfile.ReadError


def _judged(member: tarfile.TarInfo, judge: Judge) -> Path:
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None
    if not plain and not member.isdir():
        raise ArchiveRefused(f"member {shown(member.name)} is neither a file nor a folder")
    if plain and member.mode & (stat.S_ISUID | stat.S_ISGID):
        raise ArchiveRefused(f"member {shown(member.name)} wants to run as another user")
    return judge.allow(member.name, member.size if plain else 0, folder=not plain)
