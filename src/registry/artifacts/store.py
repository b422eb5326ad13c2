"""The files of all versions, and the uploads that bring them."""

from __future__ import annotations

from collections.abc import Iterable

from ..state import FileEntry
from .blobs import Blobs
from .upload import Upload


class Artifacts(Blobs):
    """The registry's files; see Blobs for the arguments."""

    def begin(self, files: Iterable[FileEntry] = ()) -> Upload:
        """The files of one version, to be used with `async with`."""
        return Upload(self, files)
