from __future__ import annotations

import asyncio
import time

import pytest

from penstock.testing import VirtualTimeLoop
from penstock.testing.virtual_time import Deadlock


async def test_an_hour_passes_at_once() -> None:
    began = time.monotonic()
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == pytest.approx(3600)
    assert time.monotonic() - began < 5


async def test_timers_fire_in_their_order() -> None:
    seen: list[int] = []

    async def note(after: int) -> None:
        await asyncio.sleep(after)
        seen.append(after)

    await asyncio.gather(note(30), note(10), note(20))
    assert seen == [10, 20, 30]


async def test_a_timeout_is_exact() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() == pytest.approx(7)


def test_a_wait_that_nothing_ends_is_an_error() -> None:
    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        pytest.raises(Deadlock, match="every task waits"),
    ):
        runner.run(asyncio.Event().wait())
