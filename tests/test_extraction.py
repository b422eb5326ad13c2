"""Archives made to do harm: each is refused whole, and nothing of it is anywhere."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ArchiveRefused
from penstock.extraction import Limits, extract
from penstock.extraction.rules import parts as parts_of

Members = Sequence[tuple[str, bytes]]


@dataclass
class Place:
    """Where an archive is unpacked, with something beside it that must stay as it is."""

    folder: Path
    archive: Path = field(init=False)
    target: Path = field(init=False)

    def __post_init__(self) -> None:
        self.archive, self.target = self.folder / "model.mar", self.folder / "in" / "target"
        self.target.parent.mkdir()
        (self.folder / "beside").write_text("as it was")

    def refuses(self, match: str, limits: Limits | None = None) -> None:
        with pytest.raises(ArchiveRefused, match=match):
            extract(self.archive, self.target, limits)
        assert not list(self.target.parent.iterdir())
        assert sorted(path.name for path in self.folder.iterdir()) == ["beside", "in", "model.mar"]
        assert (self.folder / "beside").read_text() == "as it was"

    def unpacked(self) -> dict[str, bytes]:
        found = (path for path in self.target.rglob("*") if path.is_file())
        return {path.relative_to(self.target).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def make_zip(path: Path, members: Members, packing: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, packing)


def make_tar(path: Path, members: Members) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = 0 if info.isdir() else len(content)
            archive.addfile(info, io.BytesIO(content))


MAKERS = [make_zip, make_tar]
Make = Callable[[Path, Members], None]
both = pytest.mark.parametrize("make", MAKERS, ids=["zip", "tar"])


@both
def test_what_is_in_order_is_unpacked_for_its_owner_only(place: Place, make: Make) -> None:
    large = bytes(range(256)) * 9000
    make(place.archive, [("a/", b""), ("a/b.txt", b"text"), ("./c/d/e", large), ("empty", b""), ("ä ü.py", b"#")])
    extract(place.archive, place.target)
    assert place.unpacked() == {"a/b.txt": b"text", "c/d/e": large, "empty": b"", "ä ü.py": b"#"}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in place.target.rglob("*")}
    assert modes == {0o600, 0o700}
    assert stat.S_IMODE(place.target.stat().st_mode) == 0o700


@both
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../beside", "leaves the folder"),
        ("a/../../beside", "leaves the folder"),
        ("a/..", "leaves the folder"),
        ("/tmp/x", "absolute path"),
        ("//x", "absolute path"),
        ("C:/x", "absolute path"),
        ("..\\beside", "not allowed"),
        ("a\nb", "not allowed"),
        ("a\x1b[2J", "not allowed"),
        ("x" * 256, "too long"),
        ("a/" * 40 + "x", "too long"),
        ("12345678/" * 31 + "y" * 800, "too long"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(place: Place, make: Make, name: str, problem: str) -> None:
    make(place.archive, [("first", b"1"), (name, b"x")])
    place.refuses(problem)


@both
@pytest.mark.parametrize(
    "names",
    [
        ("a", "a"),
        ("a", "./a"),
        ("Model.py", "model.py"),
        ("A/x", "a/y"),
        ("straße", "STRASSE"),
        ("e\u0301", "\u00e9"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a/", "a"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_in_one_place_are_refused(place: Place, make: Make, names: tuple[str, str]) -> None:
    make(place.archive, [(name, b"x") for name in names])
    place.refuses("in one place")


@both
def test_a_folder_may_be_named_twice(place: Place, make: Make) -> None:
    make(place.archive, [("a/b", b"1"), ("a/", b""), ("a/c", b"2")])
    extract(place.archive, place.target)
    assert sorted(place.unpacked()) == ["a/b", "a/c"]


def test_a_name_that_goes_on_after_a_nul_is_refused(place: Place) -> None:
    make_zip(place.archive, [("model.py_.exe", b"x")])
    place.archive.write_bytes(place.archive.read_bytes().replace(b"model.py_", b"model.py\0"))
    place.refuses("not allowed")


def test_a_name_that_is_not_utf_8_is_refused(place: Place) -> None:
    make_tar(place.archive, [("model_.py", b"x")])
    plain = gzip.decompress(place.archive.read_bytes())
    header = bytearray(plain[:512].replace(b"model_", b"model\xff"))
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    place.archive.write_bytes(gzip.compress(bytes(header) + plain[512:]))
    place.refuses("not allowed")


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CONTTYPE,
        b"S",
        b"Z",
    ],
)
def test_a_tar_holds_files_and_folders_only(place: Place, kind: bytes) -> None:
    with tarfile.open(place.archive, "w:gz") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "../beside"
        archive.addfile(info)
    place.refuses("neither a file nor a folder")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_zip_holds_files_and_folders_only(place: Place, kind: int) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(place.archive, "w") as archive:
        archive.writestr(info, "../beside")
    place.refuses("neither a file nor a folder")


def test_what_goes_through_a_link_is_refused_with_the_link(place: Place) -> None:
    with tarfile.open(place.archive, "w:gz") as archive:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("way/beside"))
    place.refuses("neither a file nor a folder")


@pytest.mark.parametrize("bit", [stat.S_ISUID, stat.S_ISGID])
def test_programs_that_run_as_another_user_are_refused(place: Place, bit: int) -> None:
    info = zipfile.ZipInfo("tool")
    info.external_attr = (stat.S_IFREG | 0o755 | bit) << 16
    with zipfile.ZipFile(place.archive, "w") as archive:
        archive.writestr(info, "x")
    place.refuses("another user")
    with tarfile.open(place.archive, "w:gz") as tar:
        member = tarfile.TarInfo("tool")
        member.mode = 0o755 | bit
        tar.addfile(member)
    place.refuses("another user")


@both
def test_too_many_members_are_refused(place: Place, make: Make) -> None:
    make(place.archive, [(f"{number}", b"") for number in range(4)])
    place.refuses("more than 3 members", Limits(members=3))
    extract(place.archive, place.target, Limits(members=4))


@both
def test_a_bomb_is_refused(place: Place, make: Make) -> None:
    make(place.archive, [("zeros", bytes(4_000_000))])
    place.refuses("bytes that it may unpack to", Limits(free=1000))
    place.refuses("bytes that it may unpack to", Limits(bytes=3_999_999))
    extract(place.archive, place.target)


@both
def test_many_small_files_count_together(place: Place, make: Make) -> None:
    make(place.archive, [(f"{number}", bytes(1000)) for number in range(3)])
    place.refuses("more than the 2999 bytes", Limits(bytes=2999))
    extract(place.archive, place.target, Limits(bytes=3000))


@pytest.mark.parametrize("declared", [100, 5000])
def test_a_zip_that_lies_about_a_size_is_refused(place: Place, declared: int) -> None:
    make_zip(place.archive, [("x", bytes(1000))])
    place.archive.write_bytes(place.archive.read_bytes().replace(struct.pack("<I", 1000), struct.pack("<I", declared)))
    place.refuses(r"cannot be read|shorter than")


@both
def test_a_truncated_archive_is_refused(place: Place, make: Make) -> None:
    make(place.archive, [("a", b"1" * 5000), ("b", bytes(range(256)) * 40)])
    whole = place.archive.read_bytes()
    for length in (0, 1, 4, 30, len(whole) // 2, len(whole) - 30):
        place.archive.write_bytes(whole[:length])
        place.refuses(r"cannot be read|neither a zip|shorter than")


@both
def test_a_flipped_bit_is_found(place: Place, make: Make) -> None:
    make(place.archive, [("a", bytes(range(256)) * 40)])
    broken = bytearray(place.archive.read_bytes())
    broken[120] ^= 0x10
    place.archive.write_bytes(broken)
    place.refuses(r"cannot be read|shorter than")


def test_an_encrypted_member_is_refused(place: Place) -> None:
    make_zip(place.archive, [("x", b"x")])
    whole = bytearray(place.archive.read_bytes())
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    place.archive.write_bytes(whole)
    place.refuses("encrypted")


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_packings_are_refused(place: Place, packing: int) -> None:
    make_zip(place.archive, [("x", b"x" * 100)], packing)
    place.refuses("packed in another way")


def test_what_is_no_archive_is_refused(place: Place) -> None:
    place.archive.write_bytes(b"just text")
    place.refuses("neither a zip nor a gzipped tar")


def test_a_list_of_a_million_members_is_not_read(place: Place) -> None:
    listed = b"".join(
        struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
        + b"%07d" % i
        for i in range(1_000_000)
    )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(listed), 0, 0)
    place.archive.write_bytes(listed + end)
    tracemalloc.start()
    try:
        place.refuses("list of members is too long")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_of_a_gigabyte_is_not_read(place: Place, kind: bytes) -> None:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, 10**9
    place.archive.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000_000)))
    tracemalloc.start()
    try:
        place.refuses("headers that are too long")
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_headers_of_headers_come_to_an_end(place: Place) -> None:
    header = tarfile.TarInfo("header")
    header.type, header.size = b"x", 0
    place.archive.write_bytes(gzip.compress(header.tobuf() * 100_000))
    place.refuses(r"headers that are too long|cannot be read")


def test_long_headers_of_many_members_count_together(place: Place) -> None:
    with tarfile.open(place.archive, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for number in range(20):
            info = tarfile.TarInfo(f"{number}")
            info.pax_headers = {"comment": "x" * 200_000}
            archive.addfile(info)
    place.refuses("headers that are too long", Limits(members=100))


def test_a_header_that_cannot_be_read_is_not_the_end(place: Place) -> None:
    make_tar(place.archive, [("a", b"1"), ("b", b"2")])
    plain = bytearray(gzip.decompress(place.archive.read_bytes()))
    plain[1024] ^= 0xFF
    place.archive.write_bytes(gzip.compress(plain))
    place.refuses("cannot be read")


def test_what_the_disk_refuses_is_no_fault_of_the_archive(place: Place) -> None:
    make_zip(place.archive, [("a", b"1"), ("b", b"2")])
    with pytest.raises(FileNotFoundError):
        extract(place.archive, place.target / "missing" / "target")
    assert not list(place.target.parent.iterdir())


@given(st.text(alphabet=st.characters(), max_size=30) | st.from_regex(r"([./\\a:]|\.\.){0,12}", fullmatch=True))
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    try:
        parts = parts_of(name)
    except ArchiveRefused:
        return
    inside = Path("/folder").joinpath(*parts)
    assert inside.parts[: 2 + len(parts)] == ("/", "folder", *parts)
    assert ".." not in parts
    assert all(part and "/" not in part for part in parts)
