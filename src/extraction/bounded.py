"""An archive's file, of which little is read at a time."""

from __future__ import annotations

import io
import os
from pathlib import Path

from ..errors import ArchiveRefused
from .writing import CHUNK


class Bounded(io.FileIO):
    """zipfile reads the list of all members at once, however long it is: this is where that can be refused."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.size = os.fstat(self.fileno()).st_size
        self.most = CHUNK
        """Bytes that may be asked for at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            ArchiveRefused: more is asked for than is allowed.
        """
        if size is None or size < 0:
            size = self.size - self.tell()
        if size > self.most:
            raise ArchiveRefused("its list of members is too long")
        return super().read(size) or b""
