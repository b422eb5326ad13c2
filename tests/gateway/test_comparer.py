"""The process that compares, really started: what it says, that it is not needed, and that it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest

from penstock.gateway import comparer as module
from penstock.gateway.comparer import MAX_HELD_BYTES, MAX_PAIRS, Comparer
from penstock.gateway.figures import Difference
from penstock.signature import DType
from penstock.tensors import encode
from penstock.v1 import predict_pb2


def answer(factor: float) -> bytes:
    values = np.array([[1.0, 2.0]], np.float32) * np.float32(factor)
    return predict_pb2.PredictResponse(outputs=[encode("y", values, DType.FP32)]).SerializeToString()


@asynccontextmanager
async def comparing() -> AsyncIterator[Comparer]:
    comparer = Comparer()
    task = asyncio.create_task(comparer.run())
    try:
        yield comparer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def compared(comparer: Comparer, one: bytes, other: bytes) -> Difference | None:
    told: asyncio.Future[Difference | None] = asyncio.get_running_loop().create_future()
    assert comparer.offer(one, other, told.set_result)
    return await asyncio.wait_for(told, 30)


async def test_pairs_are_compared_in_their_order() -> None:
    async with comparing() as comparer:
        found = await asyncio.gather(*(compared(comparer, answer(1), answer(f)) for f in (1, 2, 3)))
    assert [difference.max_abs for difference in found if difference is not None] == [0.0, 2.0, 4.0]


async def test_what_is_no_answer_is_a_mismatch() -> None:
    async with comparing() as comparer:
        assert await compared(comparer, answer(1), b"\xff") == Difference(mismatched=True)


async def test_a_process_that_is_killed_costs_one_pair_and_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    async with comparing() as comparer:
        await compared(comparer, answer(1), answer(2))
        process = comparer._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert await compared(comparer, answer(1), answer(2)) is None
        again = await compared(comparer, answer(1), answer(2))
    assert again is not None
    assert again.max_abs == 2.0


async def test_the_process_ends_with_the_gateway() -> None:
    async with comparing() as comparer:
        await compared(comparer, answer(1), answer(2))
        process = comparer._process
    assert process is not None
    assert process.returncode is not None


async def test_what_waits_is_bounded() -> None:
    comparer = Comparer()
    offered = [comparer.offer(b"a", b"b", print) for _ in range(MAX_PAIRS + 1)]
    assert offered == [True] * MAX_PAIRS + [False]
    assert not Comparer().offer(b"a", bytes(MAX_HELD_BYTES), print)
