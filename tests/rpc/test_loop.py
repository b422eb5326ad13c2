from __future__ import annotations

import asyncio
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("timerfd is Linux's", allow_module_level=True)

from penstock.rpc.loop import SHORT, Alarm, PreciseLoop


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

    assert loop.run_until_complete(main()) >= 0


@contextmanager
def standing(loop: PreciseLoop) -> Iterator[float]:
    """Its clock stands: however long a test takes to set its timers, none is due before the last is set."""
    now = time.monotonic()
    loop.time = lambda: now
    yield now
    delattr(loop, "time")


def test_timers_run_in_the_order_of_their_times_and_equal_ones_as_they_were_set(loop: PreciseLoop) -> None:
    ran: list[int] = []

    async def main() -> None:
        done = loop.create_future()
        with standing(loop) as now:
            for number, delay in enumerate([0.005, 0.003, 0.003, 0.002, 0.004]):
                loop.call_at(now + delay, ran.append, number)
            loop.call_at(now + 0.006, done.set_result, None)
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
        with standing(loop) as now:
            loop.call_at(now + 0.001, lambda: 1 // 0)
            loop.call_at(now + 0.001, done.set_result, None)
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


def test_one_that_ends_the_process_does_not_silence_the_others(loop: PreciseLoop) -> None:
    later = loop.create_future()

    async def main() -> None:
        with standing(loop) as now:
            loop.call_at(now + 0.001, sys.exit, 3)
            loop.call_at(now + 0.002, later.set_result, None)
        await loop.create_future()

    with pytest.raises(SystemExit):
        loop.run_until_complete(main())
    loop.run_until_complete(asyncio.wait_for(later, 30))


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.9999999991, 0.99999999999])
def test_every_fraction_of_a_second_can_be_set(fraction: float) -> None:
    """The last nanosecond and one more are a second."""
    alarm = Alarm()
    alarm.set(5.0 + fraction)  # long ago: it rings at once
    assert select.select([alarm.descriptor], [], [], 60)[0]
    alarm.heard()
    alarm.close()
    with pytest.raises(OSError, match="timerfd_settime"):
        alarm.set(5.0)


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
