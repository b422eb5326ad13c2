"""Keep the workers that the registry asks for: start, stop, replace what has died."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..rpc.lifecycle import EXIT_LOAD_FAILED, EXIT_NO_TORCH
from .child import Child
from .crashes import Crashes
from .plan import Key, Running, Start, Want, plan
from .registry_follower import Failure, RegistryFollower

log = logging.getLogger("penstock.supervisor")


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """How workers are started."""

    registry: str
    data_dir: Path
    run_dir: Path
    """For the workers' sockets: short, and open to this user only."""
    environment: Mapping[str, str]
    spare: bool = True
    """Keep one process that has imported torch already, so that a start or a replacement is quick."""
    grace: float = 25.0
    """Seconds for a worker to drain."""
    threads: int = 0
    """Passed on to workers."""


@dataclass(slots=True)
class _Worker:
    child: Child
    start: Start
    socket: Path
    """Where it listens; files beside it have names that begin with this one's."""
    began: float
    """In the loop's time."""
    stopping: bool = False
    ready: bool = False


class Fleet:
    """All workers of this host. `run` follows the registry until cancelled; `stop` drains what is left.

    Args:
        config: how workers are started.
        follower: what the registry wants, and where it is told.
        new_child: makes a process that waits for its assignment; None: `penstock worker --assigned`.
    """

    def __init__(
        self,
        config: FleetConfig,
        follower: RegistryFollower,
        new_child: Callable[[], Awaitable[Child]] | None = None,
    ) -> None:
        self._config = config
        self._follower = follower
        self._new_child = new_child or self._worker_process
        self._workers: dict[str, _Worker] = {}
        self._crashes: dict[Key, Crashes] = {}
        self._not_before: dict[Key, float] = {}
        self._deployments: dict[Key, int] = {}
        self._spare: Child | None = None
        self._makes_spare = config.spare
        """A spare is wanted, and none is being made."""
        self._stopped = False
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Compare and act after every change of the registry, every exit, and every wait that is over."""
        self._follower.on_change(self._wake.set)
        self._keep_spare()
        while True:
            self._wake.clear()
            if self._follower.known:
                await self._reconcile()
            await self._wake.wait()

    async def _reconcile(self) -> None:
        wants = {(want.name, want.version): want for want in self._follower.wants()}
        self._forgive(wants)
        todo = plan(self._startable(wants), self._running())
        for worker_id in todo.stop:
            self._stop_worker(worker_id)
        for start in todo.start:
            await self._start_worker(start)

    def _forgive(self, wants: Mapping[Key, Want]) -> None:
        """What was not wanted for a while, or is deployed again, begins anew, whatever it did before."""
        deployments = {key: want.deployment for key, want in wants.items()}
        for key in list(self._crashes):
            if deployments.get(key) != self._deployments.get(key):
                del self._crashes[key]
                self._not_before.pop(key, None)
        self._deployments = deployments

    def _startable(self, wants: Mapping[Key, Want]) -> list[Want]:
        """What is wanted, but no new starts of what is broken or must wait."""
        now, running = asyncio.get_running_loop().time(), self._running()
        found = []
        for key, want in wants.items():
            crashes = self._crashes.get(key)
            if (crashes and crashes.broken) or self._not_before.get(key, 0.0) > now:
                staying = sum((r.name, r.version) == key and not r.leaving for r in running)
                want = Want(want.name, want.version, min(want.instances, staying), want.device)
            found.append(want)
        return found

    def _running(self) -> list[Running]:
        return [
            Running(id_, w.start.name, w.start.version, w.start.index, w.stopping or self._follower.is_leaving(id_))
            for id_, w in self._workers.items()
        ]

    async def _start_worker(self, start: Start) -> None:
        worker_id = f"{start.name}-{start.version}-{secrets.token_hex(4)}"
        child, self._spare = self._spare, None
        if child is None or child.exit_status is not None:
            child = await self._new_child()
        socket = self._config.run_dir / f"{secrets.token_hex(6)}.sock"
        began = asyncio.get_running_loop().time()
        self._workers[worker_id] = worker = _Worker(child, start, socket, began)
        await child.tell(
            {
                "name": start.name,
                "version": start.version,
                "worker_id": worker_id,
                "listen": f"unix:{socket}",
                "cache_dir": str(self._config.data_dir / "cache"),
                "registry": self._config.registry,
                "device": start.device,
                "index": start.index,
                "threads": self._config.threads,
            }
        )
        log.info("started worker %s (pid %d)", worker_id, child.pid)
        self._task(self._watch_ready(worker))
        self._task(self._watch_end(worker_id, worker))

    async def _worker_process(self) -> Child:
        return await Child.start("worker", ["worker", "--assigned"], self._config.environment)

    async def _watch_ready(self, worker: _Worker) -> None:
        worker.ready = await worker.child.ready() is not None
        if worker.ready and (crashes := self._crashes.get((worker.start.name, worker.start.version))):
            crashes.note_ready()
        self._keep_spare()  # only now: before, it would take the new worker's processor

    def _keep_spare(self) -> None:
        if self._makes_spare and (self._spare is None or self._spare.exit_status is not None):
            self._makes_spare = False
            self._task(self._make_spare())

    async def _make_spare(self) -> None:
        self._spare = await self._new_child()
        self._makes_spare = not self._stopped

    async def _watch_end(self, worker_id: str, worker: _Worker) -> None:
        """Clean up after a worker; if it was not told to end, decide when the next one starts."""
        status = await worker.child.wait()
        del self._workers[worker_id]
        for left in worker.socket.parent.glob(f"{worker.socket.name}*"):  # a killed one leaves its files behind
            left.unlink(missing_ok=True)
        key = (worker.start.name, worker.start.version)
        failure = None if worker.stopping or status == 0 else self._note_crash(worker_id, worker, key, status)
        self._wake.set()  # before the registry is told: it may be slow to answer
        if failure is not None:
            await self._follower.report_failure(worker_id, *key, failure)
        await self._follower.revoke(worker_id)

    def _note_crash(self, worker_id: str, worker: _Worker, key: Key, status: int) -> Failure | None:
        """Decide when the next one may start; returns what the registry must be told, if anything."""
        now = asyncio.get_running_loop().time()
        crashes = self._crashes.setdefault(key, Crashes())
        delay = crashes.note(now) if worker.ready else crashes.note_failed_load(now, worker.began)
        self._not_before[key] = now + delay
        asyncio.get_running_loop().call_later(delay, self._wake.set)
        how = _how(status)
        what = "it is left alone now" if crashes.broken else f"another one may start in {delay:g} s"
        log.warning("worker %s %s; %s", worker_id, how, what)
        if worker.ready and not crashes.broken:
            return None
        next_in = None if crashes.broken else delay
        if worker.ready:
            return Failure(f"its worker {how}, and so did {crashes.tries - 1} before it", crashes.tries, next_in)
        said_itself = status == EXIT_LOAD_FAILED
        return Failure("" if said_itself else f"its worker {how} while loading", crashes.tries, next_in)

    def _stop_worker(self, worker_id: str) -> None:
        worker = self._workers[worker_id]
        worker.stopping = True
        log.info("stopping worker %s", worker_id)
        self._task(_ended(worker.child.stop(self._config.grace)))

    async def stop(self) -> None:
        """End all workers and the spare, at once: the gateways are gone, and nobody sends any longer."""
        self._stopped, self._makes_spare = True, False
        for worker_id, worker in list(self._workers.items()):
            if not worker.stopping:
                self._stop_worker(worker_id)
        self.hurry()
        while self._tasks:
            await asyncio.gather(*self._tasks)
        if self._spare is not None:
            await self._spare.stop(1.0)

    def hurry(self) -> None:
        """Have all workers give up what they still hold."""
        for worker in self._workers.values():
            worker.child.hurry()

    def _task(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ended(stopping: Awaitable[int]) -> None:
    await stopping


def _how(status: int) -> str:
    """How a worker ended, for a person."""
    if status == EXIT_NO_TORCH:
        return "found no torch where it runs: pip install 'penstock[worker]'"
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
