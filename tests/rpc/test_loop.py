from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("timerfd is Linux's", allow_module_level=True)

from penstock.rpc.loop import SHORT, PreciseLoop


@pytest.fixture
def loop() -> Iterator[PreciseLoop]:
    made = PreciseLoop()
    yield made
    made.close()


def test_its_clock_is_the_systems_and_does_not_stand_still_while_a_callback_runs(loop: PreciseLoop) -> None:
    async def main() -> None:
        before, real = loop.time(), time.monotonic()
        while time.monotonic() < real + 0.0002:
            pass
        assert loop.time() >= before + 0.0002

    loop.run_until_complete(main())
    assert loop.time() <= time.monotonic()


@pytest.mark.parametrize("delay", [0.0, 1e-9, 0.0004, 0.0113, 2 * SHORT])
def test_no_timer_comes_early(loop: PreciseLoop, delay: float) -> None:
    async def main() -> float:
        called: asyncio.Future[float] = loop.create_future()
        due = loop.time() + delay
        loop.call_at(due, lambda: called.set_result(loop.time()))
        return await called - due

    early = 0.001 if delay > SHORT else 0.0  # what is far ahead has libuv's own precision
    assert loop.run_until_complete(main()) >= -early


def test_timers_run_in_the_order_of_their_times_and_equal_ones_as_they_were_set(loop: PreciseLoop) -> None:
    ran: list[int] = []

    async def main() -> None:
        at, done = loop.time() + 0.002, loop.create_future()
        for number, delay in enumerate([0.003, 0.001, 0.001, 0.0, 0.002]):
            loop.call_at(at + delay, ran.append, number)
        loop.call_at(at + 0.004, done.set_result, None)
        await done

    loop.run_until_complete(main())
    assert ran == [3, 1, 2, 4, 0]


def test_what_is_cancelled_does_not_run(loop: PreciseLoop) -> None:
    ran: list[str] = []

    async def main() -> None:
        done = loop.create_future()
        first, _, third = (loop.call_later(0.001 * n, ran.append, name) for n, name in ((1, "a"), (2, "b"), (3, "c")))
        first.cancel()
        third.cancel()
        third.cancel()
        loop.call_later(0.004, done.set_result, None)
        await done

    loop.run_until_complete(main())
    assert ran == ["b"]


def test_a_timer_set_by_a_timer_runs(loop: PreciseLoop) -> None:
    async def main() -> list[str]:
        done: asyncio.Future[list[str]] = loop.create_future()
        ran = ["outer"]
        loop.call_later(0.001, lambda: loop.call_later(0.0, lambda: loop.call_later(0.001, done.set_result, ran)))
        return await done

    assert loop.run_until_complete(main()) == ["outer"]


def test_one_that_raises_is_told_to_the_loops_handler_and_the_others_run(loop: PreciseLoop) -> None:
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    async def main() -> None:
        done = loop.create_future()
        at = loop.time() + 0.001
        loop.call_at(at, lambda: 1 // 0)
        loop.call_at(at, done.set_result, None)
        await done

    loop.run_until_complete(main())
    assert isinstance(told[0]["exception"], ZeroDivisionError)


def test_asyncio_sleeps_and_times_out_on_it(loop: PreciseLoop) -> None:
    async def main() -> None:
        await asyncio.sleep(0.0007)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await asyncio.sleep(60)

    loop.run_until_complete(main())


def test_it_gives_its_descriptor_back() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    PreciseLoop().close()
    before = count()
    made = PreciseLoop()
    assert count() > before
    made.close()
    made.close()
    assert count() == before
