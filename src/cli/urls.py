"""SOURCE as a URL: the registry fetches the files, and all that is known here is their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from ..config import BadSetting

_SCHEMES = ("s3", "gs", "az", "https", "http")


def is_url(source: str) -> bool:
    """Whether SOURCE is one that a registry may fetch."""
    return source.partition("://")[0] in _SCHEMES


def described(source: str, entry: str, formats: Mapping[str, str]) -> tuple[str, str]:
    """The format and the entry of what a URL gives.

    Args:
        source: the URL of a file, or of a folder, with '/' at its end.
        entry: for a folder the file to load, or `file.py:Class`.
        formats: by suffix.

    Raises:
        BadSetting: they do not say what is to be loaded.
    """
    path = urlsplit(source).path
    if path.endswith("/") and not entry:
        raise BadSetting(f"{_shown(source)} is a folder; say with --entry what is to be loaded in it")
    chosen = entry or unquote(PurePosixPath(path).name)
    file, _, name = chosen.rpartition(":")
    if file.endswith(".py") and name:
        return "python", chosen
    suffix = PurePosixPath(chosen).suffix
    if suffix not in formats:
        known = ", ".join(sorted(formats))
        raise BadSetting(f"{chosen!r} is of no known format; known are {known} and, as --entry, file.py:Class")
    return formats[suffix], chosen


def _shown(source: str) -> str:
    """Without a query, which may hold a password."""
    return source.partition("?")[0]
