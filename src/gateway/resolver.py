"""Follow the registry: its watch stream feeds the directory. Without a registry the last known state is used on."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from pathlib import Path
from random import Random

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from .directory import Directory

_MAX_BACKOFF = 10.0
_SAVE_INTERVAL = 1.0
"""Seconds between two writes of the snapshot at least."""

log = logging.getLogger("penstock.gateway")


class Resolver:
    """Keeps a directory up to date until cancelled.

    Args:
        channel: to the registry; owned by the caller.
        directory: what is to be kept.
        api_key: for the registry; empty: none.
        snapshot: where the last state is kept on disk, for a start without a registry; None: nowhere.
        random: for jitter.
    """

    def __init__(
        self, channel: grpc.aio.Channel, directory: Directory, api_key: str, snapshot: Path | None, random: Random
    ) -> None:
        self._stub = RegistryServiceStub(channel)
        self._directory = directory
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._snapshot = snapshot
        self._random = random
        self._dirty = asyncio.Event()

    async def run(self) -> None:
        """Watch; on a broken stream connect again, with full jitter between 0.2 and 10 s."""
        saving = asyncio.create_task(self._save_changes())
        backoff = 0.2
        try:
            while True:
                try:
                    async for change in self._stub.Watch(pb.WatchRequest(), metadata=self._metadata):
                        self._directory.apply(change)
                        self._dirty.set()
                        backoff = 0.2
                except grpc.aio.AioRpcError as error:
                    log.warning("the registry cannot be followed (%s); going on with what is known", error.code().name)
                await asyncio.sleep(self._random.uniform(0.05, backoff))
                backoff = min(2 * backoff, _MAX_BACKOFF)
        finally:
            saving.cancel()

    def load_snapshot(self) -> None:
        """Begin with the state that was last written, if it is there and whole."""
        if self._snapshot is None:
            return
        try:
            content = self._snapshot.read_bytes()
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                self._directory.apply(pb.WatchResponse.FromString(content[32:]))
        except (OSError, DecodeError) as error:
            log.info("no snapshot of the registry to begin with (%s)", type(error).__name__)

    async def _save_changes(self) -> None:
        while self._snapshot is not None:
            await self._dirty.wait()
            self._dirty.clear()
            content = self._directory.state().SerializeToString()
            try:
                await asyncio.to_thread(_replace, self._snapshot, hashlib.sha256(content).digest() + content)
            except OSError as error:
                log.warning("cannot write the snapshot of the registry: %s", error.strerror)
            await asyncio.sleep(_SAVE_INTERVAL)


def _replace(path: Path, content: bytes) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
