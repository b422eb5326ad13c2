"""Questions whose answers can be checked, in all sizes, and what became of each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import penstock
from penstock import errors
from penstock.testing import Server

MODELS = """
import os
from penstock import Servable, TensorSpec

class Affine(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", "width"])}
    outputs = {"y": TensorSpec("FP32", ["batch", "width"])}

    def predict(self, x):
        if bool((x[:, 0] == -1).any()):
            os._exit(1)
        if bool((x[:, 0] == -2).any()):
            raise ValueError("a row that this model cannot stand")
        return {"y": x * 2 + 1}

class Spread(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 1])}
    outputs = {"y": TensorSpec("FP32", ["batch", 1_310_720])}

    def predict(self, x):
        return {"y": (x * 2 + 1).expand(-1, 1_310_720)}
"""
MOST = 8
"""Rows that run together."""
SMALL, MEDIUM, GREAT = 4, 150_000, 1_310_720
"""Widths: of 16 bytes, 0.6 MB and 5 MB a row."""
LATE = (errors.DeadlineExceeded, errors.PredictedLate)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question, unlike all others."""

    number: int
    model: str = "affine"
    rows: int = 1
    width: int = SMALL
    timeout: float = 60.0
    cancel: float | None = None
    """Seconds after which its caller goes."""

    @property
    def x(self) -> Any:
        """What is asked."""
        column = self.number + np.arange(self.rows, dtype=np.float32)[:, None] / 8
        return np.broadcast_to(column, (self.rows, self.width)).copy()

    def is_right(self, answer: penstock.Prediction) -> bool:
        """Whether it is this one's answer."""
        y = answer["y"]
        width = GREAT if self.model == "spread" else self.width
        return y.shape == (self.rows, width) and bool((y == self.x[:, :1] * 2 + 1).all())


def mixture(seed: int, count: int, great: int, *, cancels: bool = True) -> list[Ask]:
    """So many questions, in no order.

    Args:
        seed: other questions for each.
        count: of small ones, of which some are longer than a batch, too late or cancelled.
        great: of each greater kind.
        cancels: whether some are cancelled.
    """
    random, first = Random(seed), seed * 10_000
    asked = []
    for number in range(first, first + count):
        fate = random.random()
        rows = random.choice((1, 1, 1, 2, 3, MOST, 2 * MOST + 3))
        if fate < 0.15:
            asked.append(Ask(number, rows=rows, timeout=random.choice((0.0005, 0.002, 0.005, 0.01))))
        elif fate < 0.3 and cancels:
            asked.append(Ask(number, rows=rows, cancel=random.random() * 0.02))
        else:
            asked.append(Ask(number, rows=rows))
    for number in range(first + count, first + count + great):
        gone = random.random() * 0.05 if cancels and random.random() < 0.25 else None
        asked += [
            Ask(number, rows=random.choice((1, 2)), width=MEDIUM, cancel=gone),
            Ask(number + 2000, width=GREAT, cancel=gone),
            Ask(number + 4000, "spread", width=1, cancel=gone),
        ]
    random.shuffle(asked)
    return asked


@dataclass
class Ledger:
    """What became of the questions: exactly one entry for each."""

    seen: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[errors.PenstockError] = field(default_factory=list)

    def answered(self, ask: Ask, answer: penstock.Prediction) -> None:
        """It came back."""
        self._note(ask, "right" if ask.is_right(answer) else "wrong")

    def failed(self, ask: Ask, error: errors.PenstockError) -> None:
        """It did not; too little time is no failure."""
        if isinstance(error, LATE) and ask.timeout < 1:
            self._note(ask, "late")
        else:
            self.failures.append(error)
            self._note(ask, "failed")

    def cancelled(self, ask: Ask) -> None:
        """Its caller went."""
        self._note(ask, "cancelled")

    def note(self, ask: Ask, outcome: penstock.Prediction | errors.PenstockError) -> None:
        """What an iterator gave."""
        if isinstance(outcome, errors.PenstockError):
            self.failed(ask, outcome)
        else:
            self.answered(ask, outcome)

    def _note(self, ask: Ask, outcome: str) -> None:
        self.seen[ask.number] += 1
        self.outcomes[outcome] += 1

    def check(self, asked: Iterable[Ask]) -> None:
        """Each has ended exactly once; those with time and patience were answered rightly."""
        assert self.seen == Counter(ask.number for ask in asked)
        assert self.failures == []
        assert self.outcomes.keys() <= {"right", "late", "cancelled"}
        assert self.outcomes["right"]


async def ask_all(client: penstock.AsyncClient, asked: Iterable[Ask], ledger: Ledger, at_once: int = 32) -> None:
    """Ask one by one, so many at the same time."""
    todo = iter(asked)

    async def caller() -> None:
        for ask in todo:
            await ask_one(client, ask, ledger)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(caller())


async def ask_one(client: penstock.AsyncClient, ask: Ask, ledger: Ledger) -> None:
    """Ask, and perhaps lose patience."""
    call = asyncio.create_task(client.predict(ask.model, {"x": ask.x}, timeout=ask.timeout))
    if ask.cancel is not None:
        await asyncio.wait([call], timeout=ask.cancel)
        call.cancel()
    try:
        ledger.answered(ask, await call)
    except errors.PenstockError as error:
        ledger.failed(ask, error)
    except asyncio.CancelledError:
        ledger.cancelled(ask)


def publish(server: Server, folder: Path, instances: int = 1) -> None:
    """Serve `affine` and `spread`."""
    path = folder / "models.py"
    path.write_text(MODELS)
    for name in ("Affine", "Spread"):
        options = (f"--max-batch-size={MOST}", f"--instances={instances if name == 'Affine' else 1}")
        server.command("publish", name.lower(), f"{path}:{name}", *options)


def carriers(server: Server, model: str = "affine") -> set[str]:
    """How the gateway that answers reaches the model's workers."""
    instances = server.command("status", model)[0]["versions"][0]["instances"]
    return {instance["carrier"] for instance in instances}


CARRIERS = {"auto": "unix+shm", "unix": "unix+shm", "grpc": "grpc"}
"""What a gateway is told, and how it then reaches workers on its host."""
