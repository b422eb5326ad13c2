"""Why the last loads of versions failed, and whether they are tried again. Decisions only."""

from __future__ import annotations

from dataclasses import replace

from .budget import Key
from .state import LoadFailure

MAX_ERROR = 2000


class LoadFailures:
    """The last failure of each version whose loads have failed since the last good one."""

    def __init__(self) -> None:
        self._last: dict[Key, LoadFailure] = {}
        self._trying: set[Key] = set()
        """Those of which another load has begun since."""

    def failed(self, key: Key, error: str, tries: int = 0, next_: float = 0.0) -> None:
        """A load failed.

        Args:
            key: of which version.
            error: why; empty: as was said before.
            tries: how many have failed in a row; 0: not known.
            next_: when the next one begins, in unix seconds; 0: never.
        """
        before = self._last.get(key, LoadFailure("its load failed"))
        self._last[key] = replace(before, error=error[:MAX_ERROR] or before.error, tries=tries, next=next_)
        self._trying.discard(key)

    def begun(self, key: Key) -> None:
        """Another load has begun."""
        if key in self._last:
            self._trying.add(key)

    def forget(self, key: Key) -> None:
        """A load went well, or what failed is begun anew."""
        self._last.pop(key, None)
        self._trying.discard(key)

    def last(self, key: Key) -> LoadFailure | None:
        """The last failure since the last good load."""
        return self._last.get(key)

    def error(self, key: Key) -> str:
        """Why the last load failed; empty if it did not, or if another has begun."""
        failure = self._last.get(key)
        return "" if failure is None or key in self._trying else failure.error
