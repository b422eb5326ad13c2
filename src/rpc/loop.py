"""uvloop with a clock and timers that are exact to a tenth of a millisecond.

libuv counts in whole milliseconds: `loop.time()` may lag by one, and a timer may be late by another. A batch of a model
takes five, so that each decision about it would lose a tenth of its time twice. Here the clock is the system's own, and
short timers wait on one timerfd (Linux), which has the kernel's precision.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from contextvars import Context
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TypeVarTuple

import uvloop

_Ts = TypeVarTuple("_Ts")

SHORT = 0.1
"""Seconds. What is further ahead is left to libuv, whose milliseconds are a few hundredths of it."""
_EARLY = 0.002
"""Seconds that libuv's timers may be early at most, by rounding and by a clock that lags."""
_NANO = 1_000_000_000
_ABSOLUTE = 1
"""TFD_TIMER_ABSTIME"""


class _Spec(ctypes.Structure):
    """struct itimerspec; the interval stays 0: it rings once."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("s", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class Alarm:
    """One timerfd on the monotonic clock. The descriptor can be read when it has rung. Close it."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        # Until Python 3.13, os has neither of these.
        self.descriptor: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd_create: {os.strerror(number)}")
        self._spec = _Spec()
        self._set = libc.timerfd_settime
        self._given = self.descriptor, _ABSOLUTE, ctypes.byref(self._spec), None

    def set(self, at: float) -> None:
        """Ring then, and not at the time set before; in seconds of `time.monotonic`.

        Raises:
            OSError: it is closed.
        """
        self._spec.s, self._spec.ns = divmod(int(at * _NANO) + 1, _NANO)  # all 0 would switch it off
        if self._set(*self._given):
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd_settime: {os.strerror(number)}")

    def heard(self) -> None:
        """It has rung: it shall not be readable any more."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 8)

    def close(self) -> None:
        """Give the descriptor back; nothing can be set any more."""
        os.close(self.descriptor)
        self._given = -1, *self._given[1:]  # the number may be another's soon


class PreciseLoop(uvloop.Loop):
    """uvloop, but for the clock, and for timers: none comes early, and those of less than `SHORT` hardly late."""

    time = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._alarm = Alarm()  # first: where there is none, there is no loop to close
        super().__init__()
        self._tickets = count()
        self._due: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._set_to = inf
        self.add_reader(self._alarm.descriptor, self._ring)

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As every loop's."""
        delay = when - self.time()
        if not 0 < delay <= SHORT:
            return self._call_coarsely(delay, callback, *args, context=context)
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._due, (when, next(self._tickets), handle))
        if when < self._set_to:
            self._set_to = when
            self._alarm.set(when)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As every loop's."""
        if not 0 < delay <= SHORT:
            return self._call_coarsely(delay, callback, *args, context=context)
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _call_coarsely(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return super().call_later(delay + _EARLY if delay > 0 else 0, callback, *args, context=context)

    def _ring(self) -> None:
        """Run what is due."""
        self._alarm.heard()
        due, now = self._due, self.time()
        try:
            while due and due[0][0] <= now:
                handle = heappop(due)[2]
                if not handle.cancelled():
                    handle._run()  # tells the loop's exception handler, as all loops do
        finally:  # also if one ends the process: its own end may need the others
            self._set_again()

    def _set_again(self) -> None:
        due = self._due
        while due and due[0][2].cancelled():
            heappop(due)
        self._set_to = due[0][0] if due else inf
        if due:
            self._alarm.set(self._set_to)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked for by asyncio's handles. What is cancelled leaves when its time comes, which is soon."""

    def close(self) -> None:
        """As every loop's."""
        if not self.is_closed():
            self.remove_reader(self._alarm.descriptor)
            self._alarm.close()
        super().close()


def new_loop() -> asyncio.AbstractEventLoop:
    """The loop that servers run on: the precise one where the system has it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox without timerfd
            return PreciseLoop()
    return uvloop.new_event_loop()
