"""One upload: the header is judged before a byte is read, the bytes before anybody sees the version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from penstock.v1 import registry_pb2 as pb

from ..errors import InvalidArgument, Violation
from .artifacts import Artifacts, EndedEarly, Upload
from .drafts import check_draft, file_violations
from .names import quoted, refuse
from .records import draft_from_message, manifest_to_message
from .registry import Registry
from .state import Draft, FileEntry, Version
from .turns import to_the_end

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
            Conflict: bytes that were not sent are not here any more.
            StorageFull: the disk is full, or a limit is reached. In all these cases nothing is published.
        """
        draft, offsets = await _header(requests)
        check_draft(draft, self._artifacts.room.limits)
        known = self._registry.published(draft)
        if known is not None:
            return _response(known, existed=True)
        self._artifacts.room.check(sum(file.size for file in draft.files) - sum(offsets))
        async with self._artifacts.begin(draft.files) as upload:
            await _receive(requests, draft.files, offsets, upload)
            return await to_the_end(self._store(upload, draft, principal))

    async def prepare(self, files: tuple[FileEntry, ...]) -> list[int]:
        """How many of each file's first bytes need not be sent.

        Raises:
            InvalidArgument: a bad path, size or digest.
        """
        refuse(file_violations(files, self._artifacts.room.limits))
        return await self._artifacts.offsets(files)

    async def _store(self, upload: Upload, draft: Draft, principal: str) -> pb.PublishResponse:
        """Publish what has arrived, unless somebody else was faster; only one at a time may be here."""
        async with self._turn:
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
    return draft, _offsets(draft, first.header.offsets)


def _offsets(draft: Draft, offsets: Sequence[int]) -> list[int]:
    if not offsets:
        return [0] * len(draft.files)
    if len(offsets) != len(draft.files):
        raise _mismatch("offsets", f"{len(offsets)} offsets for {len(draft.files)} files; say one for each, or none")
    for index, (offset, entry) in enumerate(zip(offsets, draft.files, strict=True)):
        if not 0 <= offset <= entry.size:
            raise _mismatch(f"offsets[{index}]", f"{offset}: must be from 0 to the file's size")
    return list(offsets)


async def _receive(requests: Requests, files: tuple[FileEntry, ...], offsets: Sequence[int], upload: Upload) -> None:
    for index, (entry, offset) in enumerate(zip(files, offsets, strict=True)):
        if offset and offset == entry.size:
            await upload.reuse(entry)
        else:
            await upload.receive(entry, _bytes_of(requests, f"files[{index}]", entry, offset), offset)
    rest = await anext(requests, None)
    if rest is not None:
        raise _mismatch("files", "more bytes came than all files together have")


async def _bytes_of(requests: Requests, field: str, entry: FileEntry, offset: int) -> AsyncIterator[bytes]:
    """The chunks of one file; a file without bytes has none."""
    missing = entry.size - offset
    while missing > 0:
        request = await anext(requests, None)
        if request is None:
            text = f"the stream ended {missing} bytes before the end of {quoted(entry.path)}"
            raise EndedEarly(f"{field}: {text}", violations=[Violation(field, text)])
        if not request.HasField("chunk"):
            raise _mismatch(field, "only the first message may hold a header; all others hold a chunk")
        missing -= len(request.chunk)
        if missing < 0:
            raise _mismatch(field, f"a chunk goes {-missing} bytes beyond the end of {quoted(entry.path)}")
        yield request.chunk


def _mismatch(field: str, text: str) -> InvalidArgument:
    return InvalidArgument(f"{field}: {text}", violations=[Violation(field, text)])
