"""From endpoints to subchannels to pickers: one picker per model version, made anew whenever something changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from .picker import POLICIES, Picker
from .subchannel import Endpoint, Subchannel

Key = tuple[str, int]
"""Model and version."""

Connect = Callable[[Endpoint, Callable[[], None]], Subchannel]


class Balancer:
    """Owns the subchannels. All methods are called on the event loop.

    Args:
        policy: a name in POLICIES.
        random: for the policies.
        connect: makes a subchannel.
    """

    def __init__(self, policy: str, random: Random, connect: Connect = Subchannel) -> None:
        self._make: Any = POLICIES[policy]
        self._random = random
        self._connect = connect
        self._subchannels: dict[Key, dict[str, Subchannel]] = {}
        self._pickers: dict[Key, Picker[Subchannel]] = {}
        self._generation = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Take the resolver's new view: connect to what is new, let go of what is gone, leave the rest alone."""
        wanted: dict[Key, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            wanted.setdefault((endpoint.name, endpoint.version), {})[endpoint.worker_id] = endpoint
        for key in self._subchannels.keys() | wanted.keys():
            self._update_version(key, wanted.get(key, {}))

    def _update_version(self, key: Key, wanted: dict[str, Endpoint]) -> None:
        current = self._subchannels.get(key, {})
        kept: dict[str, Subchannel] = {}
        for worker_id, endpoint in wanted.items():
            old = current.pop(worker_id, None)
            same = old is not None and (old.endpoint.epoch, old.endpoint.address) == (endpoint.epoch, endpoint.address)
            if old is not None and same:
                old.endpoint = endpoint
                kept[worker_id] = old
                continue
            if old is not None:
                self._close(old)
            kept[worker_id] = self._connect(endpoint, lambda: self._publish(key))
        for gone in current.values():
            self._close(gone)
        self._subchannels[key] = kept
        if not kept:
            del self._subchannels[key]
        self._publish(key)

    def _close(self, subchannel: Subchannel) -> None:
        task = asyncio.create_task(subchannel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _publish(self, key: Key) -> None:
        """A new picker over what is ready; draining workers only if there is nothing else."""
        ready = [s for s in self._subchannels.get(key, {}).values() if s.ready]
        chosen = [s for s in ready if not s.endpoint.draining] or ready
        if chosen:
            self._pickers[key] = self._make(chosen, self._random)
        else:
            self._pickers.pop(key, None)
        generation, self._generation = self._generation, asyncio.Event()
        generation.set()

    def pick(self, key: Key, tried: Sequence[Subchannel] = ()) -> Subchannel | None:
        """A subchannel, now; None if none is ready."""
        picker = self._pickers.get(key)
        return picker.pick(tried) if picker else None

    async def wait(self, key: Key, timeout: float) -> Subchannel | None:
        """A subchannel, as soon as one is ready, or None after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while (found := self.pick(key)) is None:
                    await self._generation.wait()
                return found
        except TimeoutError:
            return None

    async def changed(self) -> None:
        """Wait for the next change of any picker."""
        await self._generation.wait()

    def ready(self, key: Key) -> int:
        """How many subchannels of a version are ready and not draining."""
        return sum(s.ready and not s.endpoint.draining for s in self._subchannels.get(key, {}).values())

    async def close(self) -> None:
        """Close all connections."""
        self.update(())
        await asyncio.gather(*self._closing)

    def __repr__(self) -> str:
        return f"<Balancer {[s for lane in self._subchannels.values() for s in lane.values()]}>"
