"""The servables that are measured, as source text to publish: an echo, a picture, and a simulated device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ECHO = """
from penstock import Servable, TensorSpec

class Small(Servable):
    own_thread = False
    inputs = {"x": TensorSpec("FP32", ["batch", 16])}
    outputs = {"y": TensorSpec("FP32", ["batch", 16])}

    def predict(self, x):
        return {"y": x}

class Picture(Servable):
    own_thread = False
    inputs = {"x": TensorSpec("FP32", ["batch", 3, 224, 224])}
    outputs = {"y": TensorSpec("FP32", ["batch", 3])}

    def predict(self, x):
        return {"y": x[:, :, 0, 0]}
"""

SIMULATED = """
import os
from pathlib import Path

from penstock.testing.simulated import Simulated

SLOW, PLACES = {slow!r}, Path({places!r})


def place():
    # How many have taken a place before: each worker process takes one, for good.
    PLACES.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        try:
            os.close(os.open(PLACES / str(number), os.O_CREAT | os.O_EXCL))
            return number
        except FileExistsError:
            number += 1


class Device(Simulated):
    a, b = {fixed!r}, {per_row!r}

    def load(self):
        if SLOW != 1 and place() == 0:
            self.a, self.b = self.a * SLOW, self.b * SLOW
        super().load()
"""


@dataclass(frozen=True, slots=True)
class Device:
    """A simulated device: a batch of n rows takes `fixed + per_row * n` seconds."""

    fixed: float
    per_row: float
    batch: int
    slow: float = 1.0
    """How many times longer the first of several takes."""

    @property
    def full_s(self) -> float:
        """What a full batch takes, s(B)."""
        return self.fixed + self.per_row * self.batch

    def rows_per_s(self, workers: int = 1) -> float:
        """What so many devices do with full batches and no gaps."""
        return self.batch / self.full_s * (workers - 1 + 1 / self.slow)

    def write(self, folder: Path) -> str:
        """The servable as SOURCE for `penstock publish`."""
        folder.mkdir(parents=True, exist_ok=True)
        values = {"fixed": self.fixed, "per_row": self.per_row, "slow": self.slow, "places": str(folder / "places")}
        path = folder / "device.py"
        path.write_text(SIMULATED.format(**values))
        return f"{path}:Device"


FAST = Device(0.004, 0.0001, 32)
"""4 ms + 0.1 ms per row: 4,444 rows/s in batches of 32."""
STEADY = Device(0.010, 0.001, 16)
"""10 ms + 1 ms per row: 615 rows/s in batches of 16."""


def write_echo(folder: Path) -> Path:
    """The file with `Small` and `Picture`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "echo.py"
    path.write_text(ECHO)
    return path
