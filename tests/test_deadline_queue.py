"""What waits: the soonest first, whatever was added or taken away in between."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.deadline_queue import DeadlineQueue


@dataclass(eq=False)
class Item:
    order: float
    rows: int = 1


def test_the_soonest_leaves_first_and_equals_in_the_order_of_their_arrival() -> None:
    late, early, first, second = Item(9.0), Item(1.0), Item(5.0), Item(5.0)
    queue: DeadlineQueue[Item] = DeadlineQueue()
    for item in (late, first, second, early):
        queue.add(item)
    assert [queue.pop() for _ in range(4)] == [early, first, second, late]


def test_taking_from_an_empty_queue_is_an_error() -> None:
    with pytest.raises(IndexError):
        DeadlineQueue[Item]().pop()


def test_what_has_left_cannot_be_removed_again() -> None:
    queue: DeadlineQueue[Item] = DeadlineQueue()
    item = Item(1.0, rows=3)
    queue.add(item)
    assert queue.remove(item)
    assert not queue.remove(item)
    assert (queue.rows, len(queue), queue.first()) == (0, 0, None)


def test_rows_ahead_are_those_of_sooner_or_equal_order() -> None:
    queue: DeadlineQueue[Item] = DeadlineQueue()
    for order in (1.0, 2.0, 2.0, 3.0):
        queue.add(Item(order, rows=4))
    assert [queue.rows_ahead(order) for order in (0.5, 1.0, 2.0, 9.0)] == [0, 4, 12, 16]


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 9), st.booleans())))
def test_it_holds_what_was_added_and_not_removed_in_order(steps: list[tuple[float, int, bool]]) -> None:
    queue: DeadlineQueue[Item] = DeadlineQueue()
    kept: list[Item] = []
    for order, rows, removed in steps:
        item = Item(order, rows)
        queue.add(item)
        if removed:
            queue.remove(item)
        else:
            kept.append(item)
    kept.sort(key=lambda item: item.order)  # stable: equals stay as they came
    assert list(queue) == kept
    assert queue.rows == sum(item.rows for item in kept)
    assert queue.first() is (kept[0] if kept else None)
