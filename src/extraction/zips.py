"""Zips: every member is judged before the first one is written."""

from __future__ import annotations

import stat
import zipfile

from ..errors import ArchiveRefused
from .bounded import Bounded
from .rules import Judge, Path, shown
from .writing import CHUNK, Writing

_LISTED = 256
"""Bytes in the list of members for each one that is allowed."""


def extract_zip(file: Bounded, writing: Writing, judge: Judge, members: int) -> None:
    """Unpack one.

    Raises:
        ArchiveRefused: something in it is not allowed; zipfile and zlib raise other things where it cannot be read.
    """
    file.most = max(CHUNK, members * _LISTED)
    with zipfile.ZipFile(file) as archive:
        allowed = [(info, _judged(info, judge)) for info in archive.infolist()]
        for info, path in allowed:
            if _is_folder(info):
                writing.folder(path)
            else:
                with archive.open(info) as member:
                    writing.file(path, info.file_size, member.read)


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.orig_filename.endswith("/")


def _judged(info: zipfile.ZipInfo, judge: Judge) -> Path:
    name = info.orig_filename  # zipfile cuts the other one at its first NUL
    kind, folder = info.external_attr >> 16, _is_folder(info)
    if stat.S_IFMT(kind) not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        raise ArchiveRefused(f"member {shown(name)} is neither a file nor a folder")
    if not folder and kind & (stat.S_ISUID | stat.S_ISGID):
        raise ArchiveRefused(f"member {shown(name)} wants to run as another user")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveRefused(f"member {shown(name)} is encrypted, or packed in another way than zips usually are")
    return judge.allow(name, info.file_size, folder=folder)
