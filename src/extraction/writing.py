"""The folder that an archive's members are written to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import ArchiveRefused
from .rules import Path as Parts
from .rules import shown

CHUNK = 1024 * 1024


class Writing:
    """Only ever makes new files and folders, for their owner only, whatever the archive says of their modes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, parts: Parts) -> None:
        """Make a folder, and those around it."""
        path = self._folder
        for part in parts:
            path = path / part
            path.mkdir(mode=0o700, exist_ok=True)

    def file(self, parts: Parts, size: int, read: Callable[[int], bytes]) -> None:
        """Write a file of `size` bytes.

        Raises:
            ArchiveRefused: `read` gives fewer.
        """
        self.folder(parts[:-1])
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        missing = size
        with os.fdopen(os.open(self._folder.joinpath(*parts), flags, 0o600), "wb") as file:
            while missing and (chunk := read(min(missing, CHUNK))):
                missing -= len(chunk)
                file.write(chunk)
        if missing:
            raise ArchiveRefused(f"member {shown('/'.join(parts))} is shorter than its header says")
