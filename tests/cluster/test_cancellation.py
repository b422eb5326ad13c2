"""Deadlines and cancellation reach the worker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock import errors
from penstock.gateway.wire import wrap

from .conftest import World, ask, request


async def test_the_deadline_is_the_workers_too(world: World) -> None:
    gateway, worker = await world.served()
    await gateway.predict(timeout=7)
    (remaining,) = worker.remaining
    assert remaining is not None
    assert 0 < remaining < 7.5  # its own default would be 60


async def test_a_deadline_that_passes_cancels_the_workers_call(world: World) -> None:
    gateway, worker = await world.served()
    cancelled = asyncio.Event()

    async def slow(seen: bytes, context: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    worker.behaviour = slow
    with pytest.raises(errors.DeadlineExceeded):
        await ask(gateway.predict(timeout=0.3))
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_caller_that_cancels_cancels_the_workers_call(world: World) -> None:
    gateway, worker = await world.served()
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(seen: bytes, context: Any) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    worker.behaviour = slow
    call = gateway.predict()
    waiting = asyncio.ensure_future(call)
    await asyncio.wait_for(begun.wait(), 5)
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 5)
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_caller_that_leaves_a_generator_cancels_it(world: World) -> None:
    gateway, worker = await world.served()
    cancelled = asyncio.Event()
    answers = iter(range(1, 2))

    async def endless(seen: bytes, context: Any) -> bytes:
        if next(answers, None):
            return wrap(1, b"")
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    worker.behaviour = endless
    send: Any = gateway.channel.unary_stream("/penstock.v1.PredictService/Generate")
    call = send(request())
    assert await call.read() == wrap(1, b"")
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 5)
