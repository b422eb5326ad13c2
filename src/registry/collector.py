"""Takes versions away, and removes the files that nothing needs: when it is told to, and from time to time."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from .artifacts import Artifacts
from .artifacts.garbage import Blob
from .artifacts.unfinished import Leftover
from .registry import Registry
from .state import ModelView

GRACE_S = 3600.0
"""For how long a file stays that no version needs: who publishes it again need not send it."""
KEEP_S = 24 * 3600.0
"""For how long an upload that broke off may go on."""
INTERVAL_S = 600.0

log = logging.getLogger("penstock.registry")


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or would be."""

    blobs: list[Blob]
    leftovers: list[Leftover]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(blob.size for blob in self.blobs) + sum(leftover.size for leftover in self.leftovers)


class Collector:
    """Removes garbage.

    Args:
        registry: knows which files are needed.
        artifacts: has them.
        grace_s: seconds for which a file stays that no version needs.
        keep_s: seconds for which an upload that broke off may go on.
    """

    def __init__(
        self, registry: Registry, artifacts: Artifacts, grace_s: float = GRACE_S, keep_s: float = KEEP_S
    ) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._grace_s, self._keep_s = grace_s, keep_s

    async def collect(self, *, dry_run: bool = False, ignore_grace: bool = False) -> Collected:
        """Remove what is of no use any more; what it was."""
        grace, keep = (-1.0, -1.0) if ignore_grace else (self._grace_s, self._keep_s)
        blobs = await self._artifacts.collect(self._registry.digests, grace, dry_run)
        leftovers = await self._artifacts.forget_unfinished(keep, dry_run)
        found = Collected(blobs, leftovers)
        if (blobs or leftovers) and not dry_run:
            log.info("removed %d files of %d bytes that nothing needs", len(blobs) + len(leftovers), found.size)
        return found

    async def delete_version(self, name: str, number: int) -> ModelView:
        """Take a version away; its files stay for the grace time. See `deletion.delete` for what is refused."""
        model, version = await self._registry.delete_version(name, number)
        await self._artifacts.touch({file.sha256 for file in version.manifest.files} - self._registry.digests())
        return model

    async def run(self, interval_s: float) -> None:
        """Collect now, and every so many seconds."""
        while True:
            try:
                await self.collect()
            except Exception:  # the next one may go well
                log.exception("collecting garbage failed")
            await asyncio.sleep(interval_s)
