"""Which origin a URL is of, and whether the registry may read there."""

from __future__ import annotations

from ..urls import OBJECTS, Url, check_allowed, parse
from .objects import Objects
from .origin import Origin
from .web import WebFile

LIMIT_S = 3600.0


class Origins:
    """Everything that the registry may fetch from.

    Args:
        allowed: it reads only below these.
        limit_s: how many seconds one version may take.
    """

    def __init__(self, allowed: tuple[Url, ...] = (), limit_s: float = LIMIT_S) -> None:
        self._allowed = allowed
        self.limit_s = limit_s

    def open(self, text: str) -> tuple[Url, Origin]:
        """A URL, understood, and the way to read it.

        Raises:
            InvalidArgument: it is not well formed.
            OriginNotAllowed: it is not one of those that may be read.
            FailedPrecondition: a package is missing.
        """
        url = parse(text)
        check_allowed(url, self._allowed)
        return url, Objects(url) if url.scheme in OBJECTS else WebFile(url, self._allowed)
