"""The archive of a registry: a plain tar with `registry.json` first, then each file as `blobs/DIGEST`.

Nothing of it is unpacked: its members are read where they lie, and what has another name or kind ends the reading. Each
digest is taken on the way, when it is written and again by the registry that it is put into.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from google.protobuf import json_format

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

FORMAT = 1
_INDEX = "registry.json"
_BLOB = re.compile(r"blobs/([0-9a-f]{64})")
_CHUNK = 1024 * 1024
_MAX_INDEX = 256 * 1024 * 1024


class BadArchive(Exception):
    """It is not what it should be; the message says where."""


class Writer:
    """Writes an archive beside its place, and puts it there when it is whole and on the disk.

    Args:
        path: where; nothing may be there.
        models: all that is in it.

    Raises:
        BadArchive: something is there.
        OSError: of the file system.
    """

    def __init__(self, path: Path, models: Iterable[pb.StoredModel]) -> None:
        if path.exists():
            raise BadArchive("it is there already")
        self._path = path
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        index = {"format": FORMAT, "models": [json_format.MessageToDict(model) for model in models]}
        content = json.dumps(index, indent=1).encode()
        self._tar.addfile(_member(_INDEX, len(content)), io.BytesIO(content))

    def add(self, entry: model_pb2.FileEntry, chunks: Iterable[bytes], on_bytes: Callable[[int], None]) -> None:
        """Append a file.

        Raises:
            BadArchive: it is not what its entry says.
        """
        checked = _Checked(entry, chunks, on_bytes)
        self._tar.addfile(_member(f"blobs/{entry.sha256}", entry.size), checked)  # type: ignore[arg-type]
        checked.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._file:
                if kind is None:
                    self._tar.close()
                    self._file.flush()
                    os.fsync(self._file.fileno())
            if kind is None:
                self._part.rename(self._path)
        finally:
            with suppress(FileNotFoundError):
                self._part.unlink()


class _Checked:
    """The bytes of one file as tarfile reads them, while their digest is taken."""

    def __init__(self, entry: model_pb2.FileEntry, chunks: Iterable[bytes], on_bytes: Callable[[int], None]) -> None:
        self._entry, self._chunks, self._on_bytes = entry, iter(chunks), on_bytes
        self._hash, self._rest = hashlib.sha256(), b""

    def read(self, size: int) -> bytes:
        """So many bytes, fewer only at the end."""
        parts, missing = [], size
        while missing > 0 and (self._rest or self._more()):
            part, self._rest = self._rest[:missing], self._rest[missing:]
            missing -= len(part)
            parts.append(part)
        if missing:
            raise BadArchive(f"the registry gave {self._entry.path!r} only in part")
        return b"".join(parts)

    def finish(self) -> None:
        """Make sure that it was all, and right."""
        if self._more() or self._hash.hexdigest() != self._entry.sha256:
            raise BadArchive(f"the registry gave other bytes of {self._entry.path!r} than it has published")

    def _more(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._hash.update(chunk)
                self._on_bytes(len(chunk))
                self._rest = chunk
                return True
        return False


@dataclass(frozen=True, slots=True)
class Blob:
    """A file in an archive."""

    archive: IO[bytes]
    start: int
    size: int

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Its bytes from an offset on, in pieces of at most 1 MiB."""
        at, end = self.start + offset, self.start + self.size
        while at < end and (chunk := os.pread(self.archive.fileno(), min(_CHUNK, end - at), at)):
            at += len(chunk)
            yield chunk


class Reader:
    """Reads an archive; to be used in a `with` block.

    Raises:
        BadArchive: it is no archive of a registry, is cut off, or has in it what does not belong there.
        OSError: of the file system.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        try:
            self._members = self._scan()
            self.models = self._index()
        except BaseException:
            self._file.close()
            raise
        self.sizes = {name: size for name, (_, size) in self._members.items() if name != _INDEX}
        """Of the files, by digest."""

    def blob(self, entry: model_pb2.FileEntry) -> Blob:
        """A file. Raises BadArchive if it is not there, or has another size."""
        start, size = self._members.get(entry.sha256, (0, -1))
        if size != entry.size:
            raise BadArchive(f"the file {entry.sha256[:12]}… is missing, or has another size")
        return Blob(self._file, start, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _scan(self) -> dict[str, tuple[int, int]]:
        """Where each member begins, and its size."""
        found: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for member in tar:
                    blob = _BLOB.fullmatch(member.name)
                    key = blob[1] if blob else member.name
                    if not member.isreg() or member.issparse() or (blob is None and key != _INDEX) or key in found:
                        raise BadArchive(f"{member.name[:100]!r} does not belong into it, or is there twice")
                    found[key] = (member.offset_data, member.size)
        except tarfile.TarError:
            raise BadArchive("it is no tar, or is cut off") from None
        return found

    def _index(self) -> list[pb.StoredModel]:
        start, size = self._members.get(_INDEX, (0, -1))
        if not 0 <= size <= _MAX_INDEX:
            raise BadArchive(f"it has no {_INDEX}: it was not written by `penstock export`")
        try:
            index: Any = json.loads(os.pread(self._file.fileno(), size, start))
            if index["format"] != FORMAT:
                raise BadArchive(f"it has the format {index['format']!r}; this release reads {FORMAT}")
            return [json_format.ParseDict(model, pb.StoredModel()) for model in index["models"]]
        except (ValueError, KeyError, TypeError, RecursionError, json_format.ParseError):
            raise BadArchive(f"{_INDEX} cannot be understood") from None


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member
