"""The bytes of files as they come in a stream: which message is of which file, and whether they are all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from penstock.v1 import registry_pb2 as pb

from ..errors import InvalidArgument, Violation
from .artifacts import Upload
from .names import quoted
from .state import FileEntry

Message = TypeVar("Message", pb.PublishRequest, pb.RestoreModelRequest)


def checked_offsets(files: Sequence[FileEntry], offsets: Sequence[int]) -> list[int]:
    """How many bytes of each file are not sent; nothing said: all are. Raises InvalidArgument."""
    if not offsets:
        return [0] * len(files)
    if len(offsets) != len(files):
        raise _mismatch("offsets", f"{len(offsets)} offsets for {len(files)} files; say one for each, or none")
    for index, (offset, entry) in enumerate(zip(offsets, files, strict=True)):
        if not 0 <= offset <= entry.size:
            raise _mismatch(f"offsets[{index}]", f"{offset}: must be from 0 to the file's size")
    return list(offsets)


async def receive(
    requests: AsyncIterator[Message], files: Sequence[FileEntry], offsets: Sequence[int], upload: Upload
) -> None:
    """Take the bytes of all files, and nothing else.

    Raises:
        InvalidArgument: they are too few or too many.
        ArtifactCorrupt, Conflict, StorageFull: as Upload says.
    """
    for index, (entry, offset) in enumerate(zip(files, offsets, strict=True)):
        if offset and offset == entry.size:
            await upload.reuse(entry)
        else:
            await upload.receive(entry, _bytes_of(requests, f"files[{index}]", entry, offset, upload), offset)
    rest = await anext(requests, None)
    if rest is not None:
        raise _mismatch("files", "more bytes came than all files together have")


async def _bytes_of(
    requests: AsyncIterator[Message], field: str, entry: FileEntry, offset: int, upload: Upload
) -> AsyncIterator[bytes]:
    """The chunks of one file; a file without bytes has none."""
    missing = entry.size - offset
    while missing > 0:
        request = await anext(requests, None)
        if request is None:
            text = f"the stream ended {missing} bytes before the end of {quoted(entry.path)}"
            upload.ended_early()
            raise _mismatch(field, text)
        if not request.HasField("chunk"):
            raise _mismatch(field, "only the first message may hold a header; all others hold a chunk")
        missing -= len(request.chunk)
        if missing < 0:
            raise _mismatch(field, f"a chunk goes {-missing} bytes beyond the end of {quoted(entry.path)}")
        yield request.chunk


def _mismatch(field: str, text: str) -> InvalidArgument:
    return InvalidArgument(f"{field}: {text}", violations=[Violation(field, text)])
