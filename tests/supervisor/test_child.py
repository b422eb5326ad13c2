from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from penstock.supervisor.child import Child

pytestmark = pytest.mark.process

READY = "import json, os, sys, signal; pipe = os.fdopen(int(os.environ['PENSTOCK_READY_FD']), 'w')\n"
SAY = "pipe.write(json.dumps({'ready': 'it', 'setting': os.environ.get('SETTING')}) + '\\n'); pipe.close()\n"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
WAIT = "signal.pause()\n"

Start = Callable[..., Awaitable[Child]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a child that runs a few lines of Python; it is killed at the end if it is still there."""
    made: list[Child] = []

    async def begin(text: str, **environment: str) -> Child:
        child = await Child.start("it", [READY + text], environment, (sys.executable, "-S", "-c"))
        made.append(child)
        return child

    yield begin
    for child in made:
        child.signal(signal.SIGKILL)
        await child.wait()


async def test_a_child_says_that_it_is_ready(start: Start) -> None:
    child = await start(SAY + WAIT, SETTING="7")
    assert await child.ready() == {"ready": "it", "setting": "7"}
    assert await child.ready() == {"ready": "it", "setting": "7"}
    assert child.exit_status is None
    assert "running" in repr(child)


@pytest.mark.parametrize(
    "text", ["", "pipe.close(); signal.pause()", "pipe.write('{\"half'); pipe.flush(); os._exit(3)"]
)
async def test_a_child_that_closes_the_pipe_before_is_never_ready(start: Start, text: str) -> None:
    assert await (await start(text)).ready() is None


async def test_the_exit_status_is_known(start: Start) -> None:
    child = await start("sys.exit(5)")
    assert await child.wait() == 5
    assert child.exit_status == 5
    assert "ended with 5" in repr(child)


async def test_a_child_that_listens_ends_within_its_grace(start: Start) -> None:
    child = await start("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n" + SAY + WAIT)
    await child.ready()
    assert await child.stop(20.0) == 0


async def test_a_child_that_hears_only_the_second_request_is_not_killed(start: Start) -> None:
    stubborn = "heard = []\nsignal.signal(signal.SIGTERM, lambda *_: heard.append(1))\n"
    child = await start(stubborn + SAY + "while len(heard) < 2: signal.pause()\nsys.exit(7)")
    await child.ready()
    assert await child.stop(0.05) == 7


async def test_a_child_that_does_not_listen_is_killed(start: Start) -> None:
    child = await start(DEAF + SAY + WAIT)
    await child.ready()
    assert await child.stop(0.05) == -signal.SIGKILL


async def test_stopping_a_child_that_has_ended_gives_its_status(start: Start) -> None:
    child = await start("sys.exit(4)")
    await child.wait()
    child.hurry()
    assert await child.stop(0.0) == 4


async def test_a_child_is_told_what_to_do_in_one_line(start: Start) -> None:
    child = await start("told = json.loads(sys.stdin.readline())\nsys.exit(told['status'])")
    await child.tell({"status": 9, "text": "line\nbreak"})
    assert await child.wait() == 9


async def test_a_child_that_has_ended_can_be_told_in_vain(start: Start) -> None:
    child = await start("")
    await child.wait()
    for _ in range(3):
        await child.tell({"text": "x" * 100_000})


async def test_two_can_wait_for_one_child(start: Start) -> None:
    child = await start("sys.exit(2)")
    first, second = await asyncio.gather(child.wait(), child.wait())
    assert (first, second) == (2, 2)


async def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        await Child.start("it", [], {}, ("/no/such/program",))
