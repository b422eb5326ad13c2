"""AOTInductor's packages: a zip whose files for the model lie in `NAME/data/aotinductor/model`."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

_INSIDE = PurePosixPath("data/aotinductor/model")
_LIBRARY, _METADATA = ".so", "_metadata.json"
_SOURCES = (".cpp", ".h")


def is_package(path: Path) -> bool:
    """Whether a `.pt2` is compiled, and holds no exported program."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        parts = [PurePosixPath(name).parts[1:] for name in archive.namelist()]
    return any(inside[:3] == _INSIDE.parts for inside in parts) and not any(
        inside[:1] == ("models",) for inside in parts
    )


def unpack(path: Path, folder: Path) -> None:
    """Put the model's files into a folder, where torch looks for them: below `data/aotinductor/model`.

    Raises:
        ValueError: two of them have one name, or there is not exactly one library.
        OSError, zipfile.BadZipFile: the package cannot be read.
    """
    place = folder / _INSIDE
    place.mkdir(mode=0o700, parents=True)
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = PurePosixPath(entry.filename)
            if name.parts[1:-1] != _INSIDE.parts or entry.is_dir() or name.suffix in _SOURCES:
                continue
            with archive.open(entry) as source, (place / name.name).open("xb") as target:
                shutil.copyfileobj(source, target)
    library(folder)


def library(folder: Path) -> Path:
    """The model's code. Raises ValueError if there is not exactly one."""
    found = sorted((folder / _INSIDE).glob(f"*{_LIBRARY}"))
    if len(found) != 1:
        raise ValueError(f"a compiled model has one library, and this one has {len(found)}")
    return found[0]


def metadata(folder: Path) -> Mapping[str, str]:
    """What AOTInductor noted about where it runs: `AOTI_MACHINE`, …; empty if it noted nothing."""
    noted: dict[str, str] = {}
    for path in sorted((folder / _INSIDE).glob(f"*{_METADATA}")):
        noted |= {str(key): str(value) for key, value in json.loads(path.read_text()).items()}
    return noted


def needs_torch(folder: Path) -> bool:
    """Whether the code calls operators that only torch's own loader brings to it: they are described beside it."""
    return any(not path.name.endswith(_METADATA) for path in (folder / _INSIDE).glob("*.json"))
