"""A version whose files the registry fetches itself: judged when they are listed, and again when they are here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from ..errors import ArtifactCorrupt, DeadlineExceeded
from .artifacts import Upload
from .drafts import MAX_FILES, check_draft
from .limits import Limits
from .names import quoted
from .origins import Found, Origins
from .state import Draft, FileEntry
from .urls import Url

_NOT_KNOWN = "0" * 64
"""Stands for a digest as long as nobody has read the file."""


class Fetching:
    """The files below one URL, on their way into an upload.

    Args:
        origins: what may be read.
        draft: has the URL.
        limits: how large files and versions may be.

    Raises:
        InvalidArgument: the URL is not well formed.
        OriginNotAllowed: it is not one of those that may be read.
    """

    def __init__(self, origins: Origins, draft: Draft, limits: Limits) -> None:
        self._url, self._origin = origins.open(draft.url)
        self._draft, self._limits, self._limit_s = draft, limits, origins.limit_s
        self._found: list[Found] = []

    async def look(self) -> int:
        """Judge what is there, before a byte of it is read; how many bytes are known to come.

        Raises:
            InvalidArgument: it could not be published.
            NotFound, FailedPrecondition, Unavailable: it cannot be read.
            DeadlineExceeded: it takes too long.
        """
        async with self._in_time():
            self._found = await self._origin.files(MAX_FILES)
        known = [FileEntry(file.path, file.size or 0, _NOT_KNOWN) for file in self._found]
        check_draft(self._whole(known), self._limits)
        return sum(file.size for file in known)

    async def fetch(self, upload: Upload) -> Draft:
        """Read all of it into the upload; the draft with all of its files.

        Raises:
            ArtifactCorrupt: a file is not what the URL says.
        """
        entries: list[FileEntry] = []
        left = self._limits.max_version_bytes - sum(file.size for file in self._draft.files)
        async with self._in_time():
            for file in self._found:
                async with aclosing(self._origin.read(file.path)) as chunks:
                    entry = await upload.download(file.path, chunks, min(left, self._limits.max_file_bytes))
                _check_pinned(self._url, entry)
                entries.append(entry)
                left -= entry.size
        whole = self._whole(entries)
        check_draft(whole, self._limits)
        return whole

    def _whole(self, entries: Sequence[FileEntry]) -> Draft:
        return replace(self._draft, files=(*self._draft.files, *entries))

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limit_s):
                yield
        except TimeoutError:
            text = f"{self._url} is not here after {self._limit_s:g} s (setting url_timeout); nothing is published"
            raise DeadlineExceeded(text) from None


def _check_pinned(url: Url, entry: FileEntry) -> None:
    if url.sha256 and url.sha256 != entry.sha256:
        text = f"{url} has the digest {entry.sha256[:12]}…, not {url.sha256[:12]}…; it is not what was to be published"
        raise ArtifactCorrupt(text, metadata={"path": quoted(entry.path)})
