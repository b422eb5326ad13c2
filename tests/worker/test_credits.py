from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.worker.credits import Account, changes, is_worth_a_message, reserve


def test_who_is_alone_gets_all_of_the_room_and_what_it_has_counts() -> None:
    assert changes(64, 32, [Account()]) == [64]
    assert changes(64, 32, [Account(unused=40)]) == [24]
    assert changes(10, 32, [Account(unused=40)]) == [0]
    assert changes(10, 32, [Account(unused=-6)]) == [16]
    assert changes(0, 32, [Account(unused=-6)]) == [0]


@pytest.mark.parametrize(
    ("room", "accounts", "granted"),
    [
        (64, [Account(), Account()], [32, 32]),
        (64, [Account(waiting=10), Account()], [35, 29]),
        (64, [Account(waiting=300), Account()], [60, 4]),
        (64, [Account(waiting=300), Account(waiting=100)], [47, 17]),
        (64, [Account(waiting=300), Account(unused=4)], [60, 0]),
        (0, [Account(waiting=300), Account()], [0, 0]),
        (32, [Account(unused=16), Account(unused=4)], [0, 12]),
    ],
    ids=["idle", "little", "one", "both", "kept", "no room", "used"],
)
def test_several_share_by_demand_and_keep_a_reserve(room: int, accounts: list[Account], granted: list[int]) -> None:
    assert changes(room, 32, accounts) == granted


def test_what_an_idle_one_holds_is_taken_back_when_another_one_needs_it() -> None:
    holds, needs = Account(unused=64), Account(waiting=100)
    assert changes(64, 32, [holds, needs]) == [-60, 60]
    assert changes(64, 32, [holds, Account(waiting=3)]) == [-32, 32]
    assert changes(64, 32, [Account(unused=64, waiting=5), needs]) == [0, 0]


def test_what_cannot_be_divided_goes_by_turns() -> None:
    many, few = Account(waiting=100), Account(waiting=1)
    order = []
    for turn in range(1, 5):
        first, second = changes(1, 1, [many, few])
        order.append((first, second))
        (many if first else few).turn = turn
    assert order == [(1, 0), (0, 1), (1, 0), (0, 1)]


def test_a_session_is_overdrawn_after_one_request_too_many() -> None:
    assert not Account(unused=0).overdrawn
    assert Account(unused=-1).overdrawn
    assert not Account(unused=-1, slack=64).overdrawn


def test_small_grants_wait_for_the_next_answers_unless_nothing_is_left() -> None:
    assert is_worth_a_message(1, 0, 32)
    assert not is_worth_a_message(7, 20, 32)
    assert is_worth_a_message(8, 20, 32)
    assert is_worth_a_message(-9, 40, 32)
    assert not is_worth_a_message(0, 0, 32)


accounts = st.builds(Account, unused=st.integers(-50, 200), waiting=st.integers(0, 500), turn=st.integers(0, 9))


@given(room=st.integers(-10, 200), batch=st.integers(1, 64), accounts=st.lists(accounts, min_size=1, max_size=9))
def test_no_more_than_the_room_is_out_and_none_that_waits_is_left_idle(
    room: int, batch: int, accounts: list[Account]
) -> None:
    before = sum(account.unused for account in accounts)
    made = changes(room, batch, accounts)
    after = before + sum(made)
    assert after <= max(room, before)
    for change, account in zip(made, accounts, strict=True):
        if change < 0:
            assert not account.waiting
            assert account.unused + change >= min(reserve(batch, len(accounts)), max(room, 0) // len(accounts))
    if room > max(before, 0) and any(account.waiting > account.unused for account in accounts):
        assert sum(max(change, 0) for change in made) > 0
