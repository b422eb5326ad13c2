"""One upload: the header is judged before a byte is read, the bytes before anybody sees the version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from penstock.v1 import registry_pb2 as pb

from ..errors import InvalidArgument, Violation
from ..signing import Trust
from .artifacts import Artifacts, Upload
from .drafts import check_draft, file_violations
from .fetching import Fetching
from .names import refuse
from .origins import Origins
from .provenance import check_signed
from .receiving import checked_offsets, receive
from .records import draft_from_message, manifest_to_message
from .registry import Registry
from .state import Draft, FileEntry, Version
from .turns import to_the_end

Requests = AsyncIterator[pb.PublishRequest]


class Publishing:
    """Takes uploads, any number at a time."""

    def __init__(
        self, registry: Registry, artifacts: Artifacts, origins: Origins | None = None, trust: Trust | None = None
    ) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._origins = origins or Origins()
        self._trust = trust or Trust()
        self.turn = asyncio.Lock()
        """Whoever holds it may look whether something is there, and then put it there."""

    async def publish(self, requests: Requests, principal: str) -> pb.PublishResponse:
        """Store a new version; one that is there with the same content is answered without reading its bytes.

        Raises:
            InvalidArgument: a bad header, or bytes that are too few or too many.
            VersionExists: the number is taken by other content.
            ArtifactCorrupt: a file is not what the header says.
            Conflict: bytes that were not sent are not here any more.
            StorageFull: the disk is full, or a limit is reached.
            SignatureRefused: it is not signed as it must be. In all these cases nothing is published; what else can go
                wrong with a URL is said in `fetching`.
        """
        draft, offsets = await _header(requests)
        if draft.url:
            return await self._publish_fetched(requests, draft, offsets, principal)
        check_draft(draft, self._artifacts.room.limits)
        known = self._registry.published(draft)
        if known is not None:
            return _response(known, existed=True)
        self._artifacts.room.check(sum(file.size for file in draft.files) - sum(offsets))
        async with self._artifacts.begin(draft.files) as upload:
            await receive(requests, draft.files, offsets, upload)
            await check_signed(self._trust, upload, draft)
            return await to_the_end(self._store(upload, draft, principal))

    async def _publish_fetched(
        self, requests: Requests, draft: Draft, offsets: Sequence[int], principal: str
    ) -> pb.PublishResponse:
        fetching = Fetching(self._origins, draft, self._artifacts.room.limits)
        coming = await fetching.look() + sum(file.size for file in draft.files) - sum(offsets)
        self._artifacts.room.check(coming)
        async with self._artifacts.begin(draft.files) as upload:
            await receive(requests, draft.files, offsets, upload)
            whole = await fetching.fetch(upload)
            await check_signed(self._trust, upload, whole)
            return await to_the_end(self._store(upload, whole, principal))

    async def prepare(self, files: tuple[FileEntry, ...]) -> list[int]:
        """How many of each file's first bytes need not be sent.

        Raises:
            InvalidArgument: a bad path, size or digest.
        """
        refuse(file_violations(files, self._artifacts.room.limits))
        return await self._artifacts.offsets(files)

    async def _store(self, upload: Upload, draft: Draft, principal: str) -> pb.PublishResponse:
        """Publish what has arrived, unless somebody else was faster; only one at a time may be here."""
        async with self.turn:
            known = self._registry.published(draft)
            if known is not None:
                return _response(known, existed=True)
            await upload.keep()
            return _response(await self._registry.publish(draft, principal), existed=False)


def _response(version: Version, *, existed: bool) -> pb.PublishResponse:
    return pb.PublishResponse(manifest=manifest_to_message(version.manifest), existed=existed)


async def _header(requests: Requests) -> tuple[Draft, list[int]]:
    first = await anext(requests, None)
    if first is None or not first.HasField("header"):
        raise InvalidArgument("the first message must hold the header", violations=[Violation("header", "is missing")])
    draft = draft_from_message(first.header)
    return draft, checked_offsets(draft.files, first.header.offsets)
