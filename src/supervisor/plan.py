"""Which workers to start and which to stop. Decisions only."""

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
    deployment: int = 0
    """Another one than before: what was given up is tried again."""


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
