"""`python -m penstock.bench.generator`: a Plan on standard input, Samples on standard output, both as JSON."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Protocol

import grpc.aio

from ..rpc.channel import client_options
from ..rpc.lifecycle import loop_factory
from .plan import Plan
from .record import Record
from .samples import Samples
from .schedule import poisson
from .stream import StreamLane
from .unary import UnaryLane

CONNECT_TIMEOUT = 20.0
PATIENCE = 10.0
"""Seconds after the last request, and after its deadline, for which answers are awaited."""
EXIT_UNREACHABLE = 69
"""As sysexits.h has it; nobody answers at the address."""


class Lane(Protocol):
    """How requests reach the server."""

    def send(self, indexes: Sequence[int]) -> None:
        """Send noted requests; does not wait."""

    async def close(self) -> None:
        """Give up what is open."""


async def generate(plan: Plan) -> Samples:
    """Make the load of a plan, and wait until everything has its outcome.

    Raises:
        TimeoutError: no connection could be made.
    """
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(_channel(plan)) for _ in range(plan.connections)]
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
        record = Record(plan, asyncio.get_running_loop().time)
        lane: Lane = (StreamLane if plan.lane == "stream" else UnaryLane)(channels, plan, record)
        stack.push_async_callback(lane.close)
        record.start()
        await asyncio.gather(record.watch(), (_open_loop if plan.rate else _closed_loop)(plan, lane, record))
        await record.finish(plan.deadline + PATIENCE)
        return record.samples()


def _channel(plan: Plan) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(plan.address, [*client_options(), ("grpc.use_local_subchannel_pool", 1)])


async def _open_loop(plan: Plan, lane: Lane, record: Record) -> None:
    """Timers may be late by a millisecond: latencies count from when a request was due, so that nothing is hidden."""
    arrivals = poisson(plan.rate, plan.warmup + plan.duration, plan.seed)
    at = 0
    while at < len(arrivals):
        await asyncio.sleep(max(arrivals[at] - record.now(), 0))
        now, first = record.now(), at
        while at < len(arrivals) and arrivals[at] <= now:
            at += 1
        if at > first:
            lane.send(record.send(arrivals[first:at]))


async def _closed_loop(plan: Plan, lane: Lane, record: Record) -> None:
    end = plan.warmup + plan.duration

    def ask(count: int) -> None:
        now = record.now()
        if count and now < end:
            lane.send(record.send([now] * count))

    record.on_settled = ask
    for part in range(plan.connections):  # not all in one message: each connection begins with its share
        ask((plan.concurrency + part) // plan.connections)
    await asyncio.sleep(end - record.now())


def main() -> int:
    """Run the plan on standard input."""
    plan = Plan.from_json(sys.stdin.read())
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)  # a collection is a pause, and pauses here look like latency there
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            samples = runner.run(generate(plan))
    except TimeoutError:
        print(f"nobody answers at {plan.address}", file=sys.stderr)
        return EXIT_UNREACHABLE
    except KeyboardInterrupt:
        return 130
    _write(samples.to_json())
    return 0


def _write(text: str) -> None:
    """All of it: with PYTHONUNBUFFERED, sys.stdout loses what a pipe does not take at once."""
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(text.encode())


if __name__ == "__main__":
    sys.exit(main())
