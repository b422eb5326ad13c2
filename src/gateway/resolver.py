"""Follow the registry: its watch stream feeds the directory. Without a registry the last known state is used on."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path
from random import Random

from google.protobuf.message import DecodeError

from penstock.v1 import registry_pb2 as pb

from ..rpc.following import follow
from ..rpc.registries import Registries
from .directory import Directory
from .holdback import HoldBack

_REVIEW_S = 1.0
"""Seconds between two looks at what is held back."""
_SAVE_INTERVAL = 1.0
"""Seconds between two writes of the snapshot at least, while the registry is there to be asked again."""

log = logging.getLogger("penstock.gateway")


class Resolver:
    """Keeps a directory up to date until cancelled.

    Args:
        registries: owned by the caller.
        directory: what is to be kept.
        holdback: what of the registry's words is believed.
        api_key: for the registry; empty: none.
        snapshot: where the last state is kept on disk, for a start without a registry; None: nowhere.
        random: for jitter.
    """

    def __init__(
        self,
        registries: Registries,
        directory: Directory,
        holdback: HoldBack,
        api_key: str,
        snapshot: Path | None,
        random: Random,
    ) -> None:
        self._registries = registries
        self._directory = directory
        self._holdback = holdback
        self._api_key = api_key
        self._snapshot = snapshot
        self._random = random
        self._dirty = asyncio.Event()
        self._lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Follow, and look after what is held back and what is on disk."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._save_changes())
            group.create_task(self._review())
            await follow(self._registries, self._api_key, self._random, take=self._take, lost=self._note_lost)

    def _note_lost(self, why: str) -> None:
        """What was heard last cannot be heard again: it is written down at once."""
        log.warning("the registry cannot be followed (%s); going on with what is known", why)
        self._lost.set()

    def _take(self, change: pb.WatchResponse) -> None:
        self._show(self._holdback.take(change, self._loop.time()))

    async def _review(self) -> None:
        while True:
            await asyncio.sleep(_REVIEW_S)
            shown = self._holdback.review(self._loop.time())
            if shown is not None:
                self._show(shown)

    def _show(self, change: pb.WatchResponse) -> None:
        self._directory.held = self._holdback.held
        self._directory.apply(change)
        self._dirty.set()

    def load_snapshot(self) -> None:
        """Begin with the state that was last written, if it is there and whole."""
        if self._snapshot is None:
            return
        try:
            content = self._snapshot.read_bytes()
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                log.warning("the snapshot of the registry is spoiled and not used")
                return
            state = pb.WatchResponse.FromString(content[32:])
        except (OSError, DecodeError) as error:
            log.info("no snapshot of the registry to begin with (%s)", type(error).__name__)
            return
        self._holdback.restore(state)
        self._directory.apply(state)

    async def _save_changes(self) -> None:
        while self._snapshot is not None:
            await self._dirty.wait()
            self._dirty.clear()
            content = self._holdback.state().SerializeToString()
            try:
                await asyncio.to_thread(_replace, self._snapshot, hashlib.sha256(content).digest() + content)
            except OSError as error:
                log.warning("cannot write the snapshot of the registry: %s", error.strerror)
            self._lost.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_SAVE_INTERVAL):
                    await self._lost.wait()


def _replace(path: Path, content: bytes) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
