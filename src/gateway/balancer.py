"""From endpoints to subchannels to lanes: every lane is given its workers anew whenever something changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from .endpoint import Endpoint
from .exchanged import Owner
from .lane import Lane
from .picker import POLICIES
from .quarantine import Quarantine
from .refusals import Key, Outlook
from .retry import RetryBudget
from .subchannel import Subchannel

Connect = Callable[[Endpoint, Owner, Callable[[], None]], Subchannel]


class Balancer:
    """Owns the subchannels and the lanes. All methods are called on the event loop.

    Args:
        policy: a name in POLICIES.
        random: for the policies.
        outlook: what is known of versions without a worker.
        connect: makes a subchannel.
    """

    def __init__(self, policy: str, random: Random, outlook: Outlook, connect: Connect = Subchannel) -> None:
        self._make: Any = POLICIES[policy]
        self._late = policy == "late_binding"
        self._random = random
        self.outlook = outlook
        self._connect = connect
        self._subchannels: dict[Key, dict[str, Subchannel]] = {}
        self._lanes: dict[Key, Lane] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self._quarantine = Quarantine()
        self._generation = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    def lane(self, key: Key) -> Lane:
        """Where the requests of a version wait. Made for versions that exist only; so their number is bounded."""
        lane = self._lanes.get(key)
        if lane is None:
            budget = self._budgets.setdefault(key[0], RetryBudget())
            lane = self._lanes[key] = Lane(key, self._late, budget, self._quarantine, self.outlook)
        return lane

    def lanes(self) -> Iterable[Lane]:
        """All that there are."""
        return self._lanes.values()

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Take the resolver's new view: connect to what is new, let go of what is gone, leave the rest alone."""
        wanted: dict[Key, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            wanted.setdefault((endpoint.name, endpoint.version), {})[endpoint.worker_id] = endpoint
        for key in self._subchannels.keys() | wanted.keys():
            self._update_version(key, wanted.get(key, {}))
        for key, lane in self._lanes.items():
            if lane.is_stranded and not self.outlook.is_expected(key):
                lane.set_workers((), None, 0)  # it was to be expected until now: what waits is told
        idle = [key for key, lane in self._lanes.items() if key not in wanted and not lane.waiting]
        for key in idle:
            if not self.outlook.is_expected(key):
                self._lanes.pop(key).close()
        names = {name for name, _ in self._lanes}
        self._budgets = {name: budget for name, budget in self._budgets.items() if name in names}
        self._tell()  # also of versions without a worker: some are healthy nevertheless

    def _update_version(self, key: Key, wanted: dict[str, Endpoint]) -> None:
        current = self._subchannels.get(key, {})
        kept: dict[str, Subchannel] = {}
        for worker_id, endpoint in wanted.items():
            old = current.pop(worker_id, None)
            if old is not None and _is_same(old.endpoint, endpoint):
                old.endpoint = endpoint
                kept[worker_id] = old
                continue
            if old is not None:
                self._close(old)
            kept[worker_id] = self._connect(endpoint, self.lane(key), lambda: self._publish(key))
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
        """Give the lane what is ready; draining workers only if there is nothing else, and while they take anything."""
        ready = [s for s in self._subchannels.get(key, {}).values() if s.ready and not s.refuses]
        fresh = [s for s in ready if not s.draining]
        chosen = fresh or ready
        if chosen or key in self._lanes:
            picker = self._make(chosen, self._random) if chosen else None
            self.lane(key).set_workers(chosen, picker, len(fresh))
        self._tell()

    def _tell(self) -> None:
        """Wake who waits for a change."""
        generation, self._generation = self._generation, asyncio.Event()
        generation.set()

    def pick(self, key: Key, tried: Sequence[Subchannel] = ()) -> Subchannel | None:
        """A subchannel for a request that does not wait in the lane, now; None if none is ready."""
        lane = self._lanes.get(key)
        picker: Any = lane.picker if lane else None
        found: Subchannel | None = picker.pick(tried, asyncio.get_running_loop().time()) if picker else None
        return found

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
        """Wait for the next change of what is ready, or of what there is."""
        await self._generation.wait()

    def ready(self, key: Key) -> int:
        """How many subchannels of a version are ready and not draining."""
        return sum(s.ready and not s.draining for s in self._subchannels.get(key, {}).values())

    def carrier(self, key: Key, worker_id: str) -> str:
        """How a worker is reached; empty: it is not."""
        subchannel = self._subchannels.get(key, {}).get(worker_id)
        return subchannel.carrier if subchannel else ""

    async def close(self) -> None:
        """Close all connections."""
        self.update(())
        await asyncio.gather(*self._closing)
        for lane in self._lanes.values():
            lane.close()

    def __repr__(self) -> str:
        return f"<Balancer {[s for lane in self._subchannels.values() for s in lane.values()]}>"


def _is_same(old: Endpoint, new: Endpoint) -> bool:
    """Whether it is the worker that it was, in the same place."""
    return (old.epoch, old.address, old.local_address) == (new.epoch, new.address, new.local_address)
