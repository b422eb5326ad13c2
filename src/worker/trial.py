"""Try the ways to compute a model against each other, on this worker's own device, before it takes callers.

Each candidate goes the way that callers' requests go. What gives another answer than the model as it was published is
out, and so is what cannot be made: the worker then computes as published, and says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..errors import ModelLoadFailed, PenstockError
from ..optimization import PLAIN, Candidate, Optimization, Optimized
from .agreement import disagreement
from .choice import choose, names, sizes
from .compiled.scratch import no_more_compiling, scratch
from .engine import buckets
from .examples import Examples
from .executor import Executor
from .forward import forward
from .job import Outputs
from .loaded import Loaded, Run
from .model_thread import ModelThread
from .warmup import prove_golden

log = logging.getLogger("penstock.worker")

_ROUNDS = 7
_PATIENCE = 4.0
"""Seconds after which no further round of measurements begins."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where candidates are run, and how."""

    device: str
    most: int
    """Rows that run together."""
    thread: ModelThread
    on_fatal: Callable[[], None]
    cache: Path
    """Where this host keeps what is compiled."""


async def optimized(loaded: Loaded, wanted: Optimization, examples: Examples, place: Place) -> tuple[Loaded, Optimized]:
    """The model as it is best computed here, and what was found. Takes as long as compilers take."""
    trial = _Trial(examples, place)
    with scratch():
        await trial.enter(PLAIN, loaded)
        for name in names(wanted, list(loaded.faster)):
            await trial.enter(name, loaded, loaded.faster.get(name, _cannot))
        await trial.measure()
    found = trial.candidates()
    chosen = choose(wanted, found)
    if chosen == Optimization.COMPILE.name.lower():
        no_more_compiling()  # no caller waits for it: sizes that are new are computed without
    for one in found:
        figures = ", ".join(f"{rows}: {seconds * 1000:.3g} ms" for rows, seconds in one.seconds.items())
        log.info("%s %s: %s", one.name, "is used" if one.name == chosen else "is not used", one.problem or figures)
    return trial.loaded[chosen], Optimized(chosen, found)


def _cannot(cache: Path) -> Run:
    raise ModelLoadFailed("models of this format are run as they are")


class _Trial:
    """The candidates, in the order in which they entered."""

    def __init__(self, examples: Examples, place: Place) -> None:
        self._examples, self._place = examples, place
        self._answers: dict[int, Outputs] = {}
        """Of the first one, to several numbers of rows."""
        self._problems: dict[str, str] = {}
        self._seconds: dict[str, dict[int, float]] = {}
        self._executors: dict[str, Executor] = {}
        self.loaded: dict[str, Loaded] = {}
        """Those that can be used."""

    async def enter(self, name: str, loaded: Loaded, make: Callable[[Path], Run] | None = None) -> None:
        """Make a candidate and hear its answers; None: the model as it is, whose answers are those of all."""
        place = self._place
        self._problems[name] = ""
        try:
            if make is not None and self._problems[PLAIN]:
                raise ModelLoadFailed("there is nothing to compare its answers with")
            run = loaded.run if make is None else await place.thread.call(partial(make, place.cache))
            self.loaded[name] = candidate = replace(loaded, run=run)
            self._executors[name] = executor = await place.thread.call(
                lambda: Executor(candidate, place.device, place.most, place.thread, place.on_fatal)
            )
            await self._hear(executor, candidate)
            if self._examples.golden is not None and make is not None:
                await prove_golden(executor, candidate, self._examples.golden, self._examples.tolerance, place.most)
        except Exception as error:
            log.warning("the model cannot be computed by %s", name, exc_info=error)
            self._problems[name] = _text(error)
            self._executors.pop(name, None)
            if make is not None:
                self.loaded.pop(name, None)

    async def _hear(self, executor: Executor, loaded: Loaded) -> None:
        """Raises ModelLoadFailed if it gives no answers, or other ones than the first candidate.

        Asked for all sizes: compilers take what holds for their example, such as fewer than 16 rows, to hold for all.
        """
        for rows in buckets(self._most(loaded)):
            outputs, _ = await forward(executor, loaded, self._examples.samples.varied(rows), rows)
            if isinstance(outputs, PenstockError) or not outputs:
                raise ModelLoadFailed(f"it gives no answer to {rows} rows of {self._examples.samples}")
            expected = self._answers.setdefault(rows, outputs)
            problem = disagreement(loaded.signature.outputs, outputs, expected, self._examples.tolerance)
            if problem:
                raise ModelLoadFailed(f"it does not answer as the model that was published: {problem}")

    async def measure(self) -> None:
        """Note the best of several rounds. Candidates take turns: what else goes on on this host hits them all."""
        until = asyncio.get_running_loop().time() + _PATIENCE
        self._seconds = {name: {} for name in self._executors}
        if len(self._executors) < 2:
            return
        for turn in range(_ROUNDS):
            for rows in sizes(self._most(self.loaded[PLAIN])):
                for name, executor in self._executors.items():
                    inputs = self._examples.samples.varied(rows)
                    _, seconds = await forward(executor, self.loaded[name], inputs, rows)
                    self._seconds[name][rows] = min(seconds, self._seconds[name].get(rows, seconds))
            if turn and asyncio.get_running_loop().time() > until:
                return

    def candidates(self) -> tuple[Candidate, ...]:
        """All that entered, and what came of them."""
        return tuple(Candidate(name, self._seconds.get(name, {}), problem) for name, problem in self._problems.items())

    def _most(self, loaded: Loaded) -> int:
        return self._place.most if loaded.signature.batch else 1


def _text(error: Exception) -> str:
    """For whoever published it: our own words, or the last line of others'."""
    if isinstance(error, PenstockError):
        return error.message[:300]
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]
