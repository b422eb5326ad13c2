"""Workers that only keep a device's time line, so that a lane can be run against the figures of the reference."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any

from penstock import errors
from penstock.gateway.lane import Lane
from penstock.gateway.late_binding import Forecast
from penstock.gateway.picker import POLICIES
from penstock.gateway.quarantine import Quarantine
from penstock.gateway.question import Pairs, Question
from penstock.gateway.refusals import Outlook
from penstock.gateway.retry import RetryBudget
from penstock.lanes import RETURN_ALLOWANCE

A, B, ROW = 0.010, 16, 0.001
FULL = A + B * ROW
CAPACITY = B / FULL
"""Rows a second of one worker that never waits."""
WIRE = 0.0002
"""Seconds each way."""
_CLOSE_LEAD = 0.0015


class Device:
    """One worker: batch while busy, the next batch closed late, credits granted late."""

    name = "device"

    def __init__(self, lane: Lane, slow: float = 1.0, wire: float = WIRE) -> None:
        self.forecast = Forecast()
        self.forecast.batch = B
        self.in_flight = 0
        self._lane = lane
        self._slow, self._wire = slow, wire
        self._loop = asyncio.get_running_loop()
        self._on_the_way: list[Question] = []
        self._waiting: list[Question] = []
        self._running: list[Question] = []
        self._next: list[Question] = []
        self._free_at = 0.0
        self._grant_lead = max(0.005, 0.15 * self.service(B))
        self._granted = 0
        self._ids = count(1)
        self._tell([])

    def service(self, rows: int) -> float:
        return (A + ROW * rows) * self._slow

    def predicted(self, now: float) -> float:
        self.forecast.advance(now)
        return self.forecast.completion(1, now)

    def demand(self, rows: int) -> None:
        pass

    def abandon(self, question: Question) -> None:
        raise NotImplementedError

    def send(self, question: Question, now: float) -> None:
        question.id = next(self._ids)
        self.forecast.sent(question.rows, question.deadline, now, question.id)
        self.in_flight += 1
        self._on_the_way.append(question)
        if len(self._on_the_way) == 1:
            self._loop.call_later(self._wire, self._arrive)

    def _arrive(self) -> None:
        came, self._on_the_way = self._on_the_way, []
        self._granted -= len(came)
        self._waiting += came
        if not self._running:
            self._run(self._close())

    def _close(self) -> list[Question]:
        """The next batch: the soonest first, without what would come too late."""
        begins = max(self._loop.time(), self._free_at)
        self._waiting.sort(key=lambda question: question.order)
        batch, self._waiting = self._waiting[:B], self._waiting[B:]
        done = begins + self.service(len(batch)) + RETURN_ALLOWANCE
        for question in batch:
            if done > question.deadline:
                self.in_flight -= 1
                question.failed(errors.ExpiredInQueue("late"))
        return [question for question in batch if done <= question.deadline]

    def _run(self, batch: list[Question]) -> None:
        """A batch is on the device from now on."""
        self._running, self._next = batch, []
        if batch:
            self._free_at = max(self._loop.time(), self._free_at) + self.service(len(batch))
            self._loop.call_at(self._free_at - self._grant_lead, self._tell, [])
            self._loop.call_at(self._free_at - _CLOSE_LEAD, self._close_next)
            self._loop.call_at(self._free_at, self._done)

    def _close_next(self) -> None:
        self._next = self._close()

    def _done(self) -> None:
        answered = self._running
        self._run(self._next or self._close())
        self._tell(answered)

    def _tell(self, answered: Sequence[Question]) -> None:
        now = self._loop.time()
        capacity = 2 * B if not self._running else B if self._free_at - now <= self._grant_lead + 1e-6 else 0
        credits = max(capacity - len(self._waiting) - self._granted, 0)
        self._granted += credits
        load = max(self._free_at - now, 0.0), self.service(1), self.service(B), len(self._waiting)
        self._loop.call_later(self._wire, self._heard, list(answered), credits, load)

    def _heard(self, answered: list[Question], credits: int, load: tuple[float, float, float, int]) -> None:
        for question in answered:
            self.in_flight -= 1
            if question.id == self.forecast.first:
                self.forecast.answered(self._loop.time())
            question.answered(b"", ())
        self.forecast.credit += credits
        self.forecast.reported(self._loop.time(), *load)
        self._lane.changed(self)


class Counted(Question):
    __slots__ = ("tally",)
    tally: list[int]

    def answered(self, response: bytes, trailers: Pairs) -> None:
        self.tally[asyncio.get_running_loop().time() <= self.deadline] += 1

    def failed(self, error: errors.PenstockError) -> None:
        self.tally[0] += 1


async def on_time(
    policy: str, speeds: Sequence[float], load: float, deadline: float, count: int = 5000, wire: float = WIRE
) -> float:
    """The share of Poisson arrivals that are answered in time.

    Args:
        policy: a name in POLICIES.
        speeds: of each worker, how many times as long it takes as the others.
        load: offered, as a share of what all could do offline.
        deadline: in full batches of a worker of speed 1.
        count: requests; the first tenth is not counted.
        wire: seconds from the gateway to a worker, and back.
    """
    loop = asyncio.get_running_loop()
    outlook = Outlook(lambda key: True, lambda key: errors.NoLiveWorker("none"))
    lane = Lane(("digits", 1), policy == "late_binding", RetryBudget(), Quarantine(), outlook)
    workers = [Device(lane, speed, wire) for speed in speeds]
    make: Any = POLICIES[policy]
    lane.set_workers(workers, make(workers, Random(7)), len(workers))
    await asyncio.sleep(1)
    random = Random(42)
    tally = [0, 0]
    rate = load * CAPACITY * sum(1 / speed for speed in speeds)
    at = loop.time()
    for number in range(count):
        at += random.expovariate(rate)
        if at > loop.time():
            await asyncio.sleep(at - loop.time())
        question = Counted(b"", loop.time(), loop.time() + deadline * FULL)
        question.tally = tally if number >= count // 10 else [0, 0]
        try:
            lane.submit(question)
        except errors.PenstockError:
            question.tally[0] += 1
    await asyncio.sleep(5)
    lane.close()
    assert sum(tally) == count - count // 10
    return tally[1] / sum(tally)
