"""One upload: the header is judged before a byte is read, the bytes before anybody sees the version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from penstock.v1 import registry_pb2 as pb

from ..errors import InvalidArgument, Violation
from .artifacts import Artifacts, Upload
from .drafts import check_draft
from .names import quoted
from .records import draft_from_message, manifest_to_message
from .registry import Registry
from .state import Draft, FileEntry, Version

Requests = AsyncIterator[pb.PublishRequest]


class Publishing:
    """Takes uploads, any number at a time."""

    def __init__(self, registry: Registry, artifacts: Artifacts) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._turn = asyncio.Lock()

    async def publish(self, requests: Requests, principal: str) -> pb.PublishResponse:
        """Store a new version; one that is there with the same content is answered without reading its bytes.

        Raises:
            InvalidArgument: a bad header, or bytes that are too few or too many.
            VersionExists: the number is taken by other content.
            ArtifactCorrupt: a file is not what the header says.
            StorageFull: the disk is full. In all these cases nothing is stored.
        """
        draft = await _header(requests)
        check_draft(draft)
        known = self._registry.published(draft)
        if known is not None:
            return _response(known, existed=True)
        async with self._artifacts.begin() as upload:
            await _receive(requests, draft.files, upload)
            async with self._turn:
                return await self._store(upload, draft, principal)

    async def _store(self, upload: Upload, draft: Draft, principal: str) -> pb.PublishResponse:
        """Publish what has arrived, unless somebody else was faster; only one at a time may be here."""
        known = self._registry.published(draft)
        if known is not None:
            return _response(known, existed=True)
        await upload.keep()
        return _response(await self._registry.publish(draft, principal), existed=False)


def _response(version: Version, *, existed: bool) -> pb.PublishResponse:
    return pb.PublishResponse(manifest=manifest_to_message(version.manifest), existed=existed)


async def _header(requests: Requests) -> Draft:
    first = await anext(requests, None)
    if first is None or not first.HasField("header"):
        raise InvalidArgument("the first message must hold the header", violations=[Violation("header", "is missing")])
    return draft_from_message(first.header)


async def _receive(requests: Requests, files: tuple[FileEntry, ...], upload: Upload) -> None:
    for index, entry in enumerate(files):
        await upload.receive(entry, _bytes_of(requests, f"files[{index}]", entry))
    rest = await anext(requests, None)
    if rest is not None:
        raise _mismatch("files", "more bytes came than all files together have")


async def _bytes_of(requests: Requests, field: str, entry: FileEntry) -> AsyncIterator[bytes]:
    """The chunks of one file; a file without bytes has none."""
    missing = entry.size
    while missing > 0:
        request = await anext(requests, None)
        if request is None:
            raise _mismatch(field, f"the stream ended {missing} bytes before the end of {quoted(entry.path)}")
        if not request.HasField("chunk"):
            raise _mismatch(field, "only the first message may hold a header; all others hold a chunk")
        missing -= len(request.chunk)
        if missing < 0:
            raise _mismatch(field, f"a chunk goes {-missing} bytes beyond the end of {quoted(entry.path)}")
        yield request.chunk


def _mismatch(field: str, text: str) -> InvalidArgument:
    return InvalidArgument(f"{field}: {text}", violations=[Violation(field, text)])
