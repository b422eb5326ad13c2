"""Open an archive, unpack it beside its target, and rename that when all of it is right."""

from __future__ import annotations

import gzip
import secrets
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ArchiveRefused
from .bounded import Bounded
from .rules import Judge, Limits, shown
from .tars import extract_tar
from .writing import Writing
from .zips import extract_zip

_UNREADABLE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RecursionError,
    ValueError,
)
"""What the standard library says of broken archives."""


def extract(archive: Path, target: Path, limits: Limits | None = None) -> None:
    """Unpack a zip (also `.mar`) or a gzipped tar; which of them it is, its first bytes say.

    Args:
        archive: opened once.
        target: must not exist; it appears when everything in it is right. Files have mode 0600, folders 0700.
        limits: None: those of `Limits`.

    Raises:
        ArchiveRefused: it cannot be read, or holds what is not allowed. Nothing stays, in `target` or elsewhere.
        OSError: the disk is full, and the like. Nothing stays, either.
    """
    limits = limits or Limits()
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    partial.mkdir(mode=0o700)
    try:
        with Bounded(archive) as file, _explained(archive.name):
            _extract(file, Writing(partial), limits)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except ArchiveRefused as error:
        raise ArchiveRefused(f"{shown(name)} is refused: {error.message}") from None
    except _UNREADABLE as error:
        raise ArchiveRefused(f"{shown(name)} cannot be read ({type(error).__name__}); make or copy it again") from error


def _extract(file: Bounded, writing: Writing, limits: Limits) -> None:
    judge, magic = Judge(limits, file.size), file.read(4)
    file.seek(0)
    if magic[:2] == b"PK":
        extract_zip(file, writing, judge, limits.members)
    elif magic[:2] == b"\x1f\x8b":
        extract_tar(file, writing, judge, limits.members)
    else:
        raise ArchiveRefused("it is neither a zip nor a gzipped tar")
