from __future__ import annotations

import asyncio

import pytest

from penstock.registry.turns import Turns


async def test_changes_do_not_overlap_and_come_in_the_order_in_which_they_were_asked() -> None:
    turns = Turns()
    seen: list[str] = []

    async def change(name: str) -> str:
        seen.append(f"{name} begins")
        await asyncio.sleep(0)
        seen.append(f"{name} ends")
        return name

    first, second = await asyncio.gather(turns.take(change("a")), turns.take(change("b")))
    assert (first, second) == ("a", "b")
    assert seen == ["a begins", "a ends", "b begins", "b ends"]


async def test_who_is_cancelled_leaves_the_change_to_its_end() -> None:
    turns, gate = Turns(), asyncio.Event()
    seen: list[str] = []

    async def change() -> None:
        await gate.wait()
        seen.append("made")

    async def nothing() -> None:
        seen.append("next")

    asking = asyncio.create_task(turns.take(change()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    gate.set()
    await turns.take(nothing())
    assert seen == ["made", "next"]


async def test_a_change_that_fails_does_not_keep_the_next_from_its_turn() -> None:
    turns = Turns()

    async def fails() -> None:
        raise ValueError("no")

    async def works() -> int:
        return 7

    with pytest.raises(ValueError, match="no"):
        await turns.take(fails())
    assert await turns.take(works()) == 7
