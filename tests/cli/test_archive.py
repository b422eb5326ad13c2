"""The file that `export` writes and `import` reads."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from penstock.cli.tarball import BadArchive, Reader, Writer
from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

CONTENT = bytes(range(256)) * 8192


def model(*contents: bytes) -> pb.StoredModel:
    files = [
        model_pb2.FileEntry(path=str(i), size=len(c), sha256=hashlib.sha256(c).hexdigest())
        for i, c in enumerate(contents)
    ]
    manifest = model_pb2.Manifest(name="digits", version=1, format="python", entry="0", files=files)
    return pb.StoredModel(name="digits", versions=[pb.StoredVersion(manifest=manifest)], aliases={"stable": 1})


def write(path: Path, *contents: bytes, sent: bytes | None = None) -> pb.StoredModel:
    made = model(*contents)
    with Writer(path, [made]) as writer:
        for entry, content in zip(made.versions[0].manifest.files, contents, strict=True):
            sending = content if sent is None else sent
            writer.add(entry, [sending[:1000], b"", sending[1000:]], lambda size: None)
    return made


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "all.tar"
    made = write(path, CONTENT, b"")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["all.tar"]
    with Reader(path) as reader:
        assert reader.models == [made]
        first, empty = made.versions[0].manifest.files
        for offset in (0, 1, 1_500_000, len(CONTENT)):
            assert b"".join(reader.blob(first).chunks(offset)) == CONTENT[offset:]
        assert list(reader.blob(empty).chunks()) == []


@pytest.mark.parametrize("sent", [CONTENT[:-1], CONTENT + b"x", CONTENT[::-1], b""])
def test_a_file_that_is_not_what_was_published_leaves_no_archive(tmp_path: Path, sent: bytes) -> None:
    with pytest.raises(BadArchive):
        write(tmp_path / "all.tar", CONTENT, sent=sent)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "all.tar"
    path.write_bytes(b"precious")
    with pytest.raises(BadArchive, match="there already"):
        write(path, CONTENT)
    assert path.read_bytes() == b"precious"


def test_a_file_that_is_missing_or_of_another_size_is_said_to_be_so(tmp_path: Path) -> None:
    made = write(tmp_path / "all.tar", CONTENT)
    [entry] = made.versions[0].manifest.files
    with Reader(tmp_path / "all.tar") as reader:
        for wrong in ({"sha256": "ab" * 32, "size": 1}, {"sha256": entry.sha256, "size": 1}):
            with pytest.raises(BadArchive, match="missing"):
                reader.blob(model_pb2.FileEntry(**wrong))  # type: ignore[arg-type]


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as made:
        for member, content in members:
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return path


def of_type(name: str, type_: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = type_, "/etc/passwd"
    return member


INDEX = (tarfile.TarInfo("registry.json"), b'{"format": 1, "models": []}')


@pytest.mark.parametrize(
    "members",
    [
        [],
        [(tarfile.TarInfo("blobs/" + "ab" * 32), b"x")],
        [INDEX, INDEX],
        [INDEX, (tarfile.TarInfo("../../etc/passwd"), b"x")],
        [INDEX, (tarfile.TarInfo("/etc/passwd"), b"x")],
        [INDEX, (of_type("blobs/" + "ab" * 32, tarfile.SYMTYPE), b"")],
        [INDEX, (of_type("blobs/" + "ab" * 32, tarfile.LNKTYPE), b"")],
        [INDEX, (of_type("blobs/" + "ab" * 32, tarfile.CHRTYPE), b"")],
        [(tarfile.TarInfo("registry.json"), b"nonsense")],
        [(tarfile.TarInfo("registry.json"), b"[]")],
        [(tarfile.TarInfo("registry.json"), b'{"format": 2, "models": []}')],
        [(tarfile.TarInfo("registry.json"), b'{"format": 1, "models": [{"other": 1}]}')],
        [(tarfile.TarInfo("registry.json"), b"[" * 100_000)],
    ],
)
def test_what_no_export_writes_is_not_read(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with pytest.raises(BadArchive):
        Reader(tar(tmp_path / "all.tar", *members))


def test_an_archive_that_is_cut_off_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "all.tar"
    write(path, CONTENT)
    whole = path.read_bytes()
    for size in (0, 100, 3_000, len(CONTENT)):
        path.write_bytes(whole[:size])
        with pytest.raises(BadArchive):
            Reader(path)
