"""Which workers to start and which to stop, and when a crashed one may start again. Decisions only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Key = tuple[str, int]
"""Model and version."""


@dataclass(frozen=True, slots=True)
class Want:
    """What the registry asks for, of one version."""

    name: str
    version: int
    instances: int
    device: str


@dataclass(frozen=True, slots=True)
class Running:
    """A worker that has been started."""

    worker_id: str
    name: str
    version: int
    index: int
    leaving: bool
    """It was told to stop, or drains: it does not count any longer."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start an instance of a version."""

    name: str
    version: int
    index: int
    device: str


@dataclass(slots=True)
class Plan:
    """What to do now."""

    start: list[Start] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    """Worker ids."""


def plan(wants: Iterable[Want], running: Sequence[Running]) -> Plan:
    """Compare what is wanted with what runs. Applying the plan and asking again gives an empty one."""
    todo = Plan()
    wanted = {(want.name, want.version): want for want in wants}
    for key, want in wanted.items():
        staying = [r for r in running if (r.name, r.version) == key and not r.leaving]
        staying.sort(key=lambda r: r.index)
        todo.stop += [r.worker_id for r in staying[want.instances :]]
        taken = {r.index for r in staying}
        free = (index for index in range(len(taken) + want.instances) if index not in taken)
        for index, _ in zip(free, range(want.instances - len(staying)), strict=False):
            todo.start.append(Start(want.name, want.version, index, want.device))
    todo.stop += [r.worker_id for r in running if (r.name, r.version) not in wanted and not r.leaving]
    return todo


MAX_CRASHES = 5
CRASH_WINDOW = 60.0
"""Seconds. MAX_CRASHES within it, and the version is left alone until it is deployed again."""


@dataclass(slots=True)
class Crashes:
    """The recent history of one version's, or one server's, processes."""

    times: list[float] = field(default_factory=list)
    broken: bool = False

    def note(self, now: float, *, load_failed: bool = False) -> float:
        """A process ended by itself; returns the seconds to wait before the next one is started.

        Args:
            now: monotonic seconds.
            load_failed: it ended because the model does not load, which seldom mends itself: be slower.
        """
        window = CRASH_WINDOW * (2 if load_failed else 1)
        self.times = [t for t in self.times if t > now - window] + [now]
        self.broken = len(self.times) >= MAX_CRASHES
        first = 1.0 if load_failed else 0.0
        doublings = len(self.times) - 1
        return min(max(first, 0.25) * 2**doublings, 30.0) if doublings else first
