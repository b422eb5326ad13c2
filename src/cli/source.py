"""What SOURCE on the command line means: which files are published, and how they are to be read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.v1 import model_pb2

from ..config import BadSetting
from ..signature import parse_spec
from .urls import described, is_url

_SUFFIXES = {".pt2": "torch_export", ".pt": "torchscript", ".ts": "torchscript"}
_CHUNK = 1024 * 1024
_SKIPPED = {"__pycache__", ".git"}


@dataclass(frozen=True, slots=True)
class File:
    """One file to publish: where its bytes are, and its path in the version."""

    path: str
    source: Path | bytes

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """The bytes from an offset on, in pieces of at most 1 MiB; none for an empty file."""
        if isinstance(self.source, bytes):
            yield from filter(None, [self.source[offset:]])
            return
        with self.source.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(_CHUNK):
                yield chunk

    def entry(self) -> model_pb2.FileEntry:
        """Path, size and digest; reads the file."""
        digest, size = hashlib.sha256(), 0
        for chunk in self.chunks():
            digest.update(chunk)
            size += len(chunk)
        return model_pb2.FileEntry(path=self.path, size=size, sha256=digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Source:
    """What will be published."""

    format: str
    entry: str
    files: tuple[File, ...]
    url: str = ""
    """Where the registry fetches the other files itself."""


def read_source(source: str, inputs: Sequence[str] = (), *, entry: str = "") -> Source:
    """Understand SOURCE.

    Args:
        source: `model.pt2`, `model.pt`, `file.py:Class`, or `folder/file.py:Class` preceded by nothing else; a Python
            file is published with the other files of its folder only if the folder is named: `folder:file.py:Class`.
            Or a URL, whose files are not here.
        inputs: for TorchScript, `x=FP32[batch,64]` each.
        entry: what to load in the folder of a URL.

    Raises:
        BadSetting: it is none of these, or a file is missing.
    """
    if is_url(source):
        format_, entry = described(source, entry, _SUFFIXES)
        sent = (File("signature.json", _signature(inputs)),) if inputs else ()
        return Source(format_, entry, sent, url=source)
    if source.count(":") and source.rpartition(":")[0].endswith(".py"):
        return _python(source)
    path = Path(source)
    if path.suffix not in _SUFFIXES:
        known = "model.pt2 (torch.export), model.pt (TorchScript) or file.py:Class (a penstock.Servable)"
        raise BadSetting(f"SOURCE {source!r} is not known; publish {known}")
    _require(path)
    files = [File(path.name, path)]
    if inputs:
        files.append(File("signature.json", _signature(inputs)))
    return Source(_SUFFIXES[path.suffix], path.name, tuple(files))


def _python(source: str) -> Source:
    path, _, name = source.rpartition(":")
    folder, _, file = path.rpartition(":")
    if not folder:
        _require(Path(path))
        return Source("python", f"{Path(path).name}:{name}", (File(Path(path).name, Path(path)),))
    root = Path(folder)
    _require(root / file)
    found = sorted(p for p in root.rglob("*") if p.is_file() and not _SKIPPED & set(p.relative_to(root).parts))
    _require_inside(root, found)
    return Source("python", f"{file}:{name}", tuple(File(p.relative_to(root).as_posix(), p) for p in found))


def _require_inside(root: Path, found: Sequence[Path]) -> None:
    """A link that leads out of the folder would publish what nobody meant to."""
    for path in found:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadSetting(f"{path} is a link to a file outside {root}; put the file itself there")


def _signature(inputs: Sequence[str]) -> bytes:
    specs = {}
    for text in inputs:
        try:
            spec = parse_spec(text)
        except ValueError as error:
            raise BadSetting(f"--input: {error}") from None
        specs[spec.name] = str(spec)
    return json.dumps({"inputs": specs}).encode()


def _require(path: Path) -> None:
    if not path.is_file():
        raise BadSetting(f"there is no file {path}")
