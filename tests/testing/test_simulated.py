from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np

from penstock.testing.simulated import Simulated, SimulatedDevice


class Clock:
    """Time passes when somebody sleeps, and then a little more."""

    def __init__(self, late: float = 0.0) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._late = late

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + self._late


def test_an_idle_device_starts_at_once() -> None:
    clock = Clock()
    clock.now = 5.0
    device = SimulatedDevice(1.0, 0.5, clock=clock, sleep=clock.sleep)
    assert device.run(4, "answer").result() == "answer"
    assert clock.now == 8.0


def test_a_batch_begins_when_the_one_before_it_ends_however_late_its_host_wakes_up() -> None:
    clock = Clock(late=0.25)
    device = SimulatedDevice(1.0, 0.0, clock=clock, sleep=clock.sleep)
    first, second = device.run(1, 1), device.run(1, 2)
    assert first.result() == 1
    assert clock.now == 1.25
    third = device.run(1, 3)
    assert second.result() == 2
    assert third.result() == 3
    assert clock.slept == [1.0, 0.75, 0.75]
    assert third.ready_at == 3.0


def test_a_device_that_was_left_without_work_has_lost_that_time() -> None:
    clock = Clock()
    device = SimulatedDevice(1.0, 0.0, clock=clock, sleep=clock.sleep)
    device.run(1, None).result()
    clock.now = 4.0
    assert device.run(1, None).ready_at == 5.0


def test_jitter_is_within_its_share_and_the_same_for_the_same_seed() -> None:
    clock = Clock()
    ends = [SimulatedDevice(1.0, 0.0, 0.5, clock, clock.sleep, Random(7)).run(1, None).ready_at for _ in range(2)]
    assert ends[0] == ends[1] != 1.0
    assert 0.5 <= ends[0] <= 1.5


def test_the_servable_reads_what_is_published_beside_it_and_echoes(tmp_path: Path) -> None:
    (tmp_path / "simulated.json").write_text(json.dumps({"a": 0.0, "b": 0.0}))
    servable = Simulated()
    servable.files, servable.device = tmp_path, "cpu"
    servable.load()
    x = np.ones((2, 16), np.float32)
    assert servable.predict(x=x).result()["y"] is x


def test_it_needs_no_torch() -> None:
    text = "import sys, penstock.testing.simulated; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", text], check=True)
