"""A device that computes nothing and takes exactly as long as it is told: what scheduling is measured with.

It keeps an absolute time line: a batch of n rows begins when the device is free and takes a + b * n. What the host does
meanwhile, and how late its threads wake up, does not make the device slower; only leaving it without work does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

from ..servable import Servable
from ..signature import TensorSpec

T = TypeVar("T")

SOURCE = "from penstock.testing.simulated import Simulated\n"
"""A file to publish as `simulated.py:Simulated`; beside it, a `simulated.json` such as {"a": 0.004, "b": 0.0001}."""


@dataclass(frozen=True, slots=True)
class SimulatedAnswer(Generic[T]):
    """What the device was given, when it is done with it."""

    answer: T
    ready_at: float
    """In the clock's time."""
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def result(self) -> T:
        """Wait, and leave the interpreter to others meanwhile."""
        while (left := self.ready_at - self.clock()) > 0:
            self.sleep(left)
        return self.answer


class SimulatedDevice:
    """Takes batches one after another; each has its own time on the line as soon as it is handed over.

    Args:
        a: seconds for each batch.
        b: seconds for each row.
        jitter: a batch takes up to this share longer or shorter, at random.
        clock: whose time the line is in.
        sleep: waits on that clock.
        random: where the jitter comes from.
    """

    def __init__(
        self,
        a: float,
        b: float,
        jitter: float = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Random | None = None,
    ) -> None:
        self._a, self._b, self._jitter = a, b, jitter
        self._clock, self._sleep, self._random = clock, sleep, random or Random(0)
        self.free_at = 0.0
        """When it is done with all that it was given."""

    def run(self, rows: int, answer: T) -> SimulatedAnswer[T]:
        """Hand over a batch; does not wait."""
        seconds = (self._a + self._b * rows) * (1 + self._jitter * self._random.uniform(-1, 1))
        self.free_at = max(self._clock(), self.free_at) + seconds
        return SimulatedAnswer(answer, self.free_at, self._clock, self._sleep)


class Simulated(Servable):
    """Gives back what it was given, as late as a simulated device would.

    `simulated.json` among the version's files may set `a`, `b` and `jitter`; a subclass may set them, too.
    """

    inputs = {"x": TensorSpec("FP32", ["batch", 16])}  # noqa: RUF012 - as every servable is written
    outputs = {"y": TensorSpec("FP32", ["batch", 16])}  # noqa: RUF012
    a = 0.004
    b = 0.0001
    jitter = 0.0

    def load(self) -> None:
        """Read what is set."""
        file = self.files / "simulated.json"
        said = json.loads(file.read_text()) if file.is_file() else {}
        self._device = SimulatedDevice(said.get("a", self.a), said.get("b", self.b), said.get("jitter", self.jitter))

    def predict(self, **inputs: Any) -> Any:
        """Echo, later."""
        return self._device.run(len(inputs["x"]), {"y": inputs["x"]})
