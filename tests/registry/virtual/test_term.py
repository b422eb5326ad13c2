from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock import errors
from penstock.registry.stores.etcd.term import TTL_S, Term


class FakeEtcd:
    """Answers each question for more time with what a test has put there."""

    def __init__(self) -> None:
        self.answer: int | Exception = TTL_S
        self.takes_s = 0.0
        self.asked: list[float] = []

    async def keep_alive(self, _lease: int) -> int:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
async def etcd() -> FakeEtcd:
    return FakeEtcd()


def term_of(etcd: Any) -> Term:
    """One that begins now."""
    clock = asyncio.get_running_loop().time
    return Term(etcd, b"/p/leader", 1, 7, clock() + TTL_S, clock)


async def kept_for(term: Term) -> float:
    began = asyncio.get_running_loop().time()
    await term.keep()
    assert not term.holds
    return asyncio.get_running_loop().time() - began


async def test_a_term_is_prolonged_thrice_in_its_time_for_as_long_as_etcd_answers(etcd: FakeEtcd) -> None:
    term = term_of(etcd)
    keeping = asyncio.create_task(term.keep())
    await asyncio.sleep(600.0)
    assert term.holds
    assert 350 <= len(etcd.asked) <= 370
    term.lost.set()
    await keeping


async def test_a_term_is_over_by_its_own_clock_when_etcd_is_silent(etcd: FakeEtcd) -> None:
    etcd.answer = errors.RegistryUnavailable("away")
    assert await kept_for(term_of(etcd)) == pytest.approx(TTL_S, abs=0.01)
    assert len(etcd.asked) > 3


async def test_time_counts_from_the_question_and_not_from_a_late_answer(etcd: FakeEtcd) -> None:
    term = term_of(etcd)
    keeping = asyncio.create_task(term.keep())
    etcd.takes_s = 2.0
    await asyncio.sleep(TTL_S / 3 + 2.1)
    etcd.answer = errors.RegistryUnavailable("away")
    await keeping
    assert asyncio.get_running_loop().time() < etcd.asked[0] + TTL_S + 2.0 + 0.1
    assert not term.holds


async def test_a_term_whose_lease_is_over_is_lost_at_once(etcd: FakeEtcd) -> None:
    etcd.answer = 0
    assert await kept_for(term_of(etcd)) == pytest.approx(TTL_S / 3, abs=0.01)


async def test_a_term_that_nobody_prolongs_any_more_is_lost(etcd: FakeEtcd) -> None:
    etcd.answer = RuntimeError("a bug")
    term = term_of(etcd)
    with pytest.raises(RuntimeError):
        await term.keep()
    assert term.lost.is_set()
