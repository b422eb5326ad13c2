from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.worker.execution.slots import Slots


def test_rows_that_come_one_after_another_lie_side_by_side() -> None:
    slots = Slots(10)
    assert [slots.take(rows) for rows in (1, 3, 2)] == [0, 1, 4]


def test_the_ring_goes_on_before_it_comes_back() -> None:
    slots = Slots(6)
    assert [slots.take(2), slots.take(2)] == [0, 2]
    slots.free(0, 2)
    assert [slots.take(2), slots.take(2)] == [4, 0]


def test_rows_that_would_not_lie_side_by_side_find_no_room() -> None:
    slots = Slots(4)
    for _ in range(4):
        slots.take(1)
    slots.free(0, 1)
    slots.free(2, 1)
    assert slots.take(2) is None
    assert slots.take(5) is None
    assert slots.take(1) == 0


def test_whoever_is_alone_uses_the_same_rows_again() -> None:
    slots = Slots(10)
    for _ in range(3):
        assert slots.take(2) == 0
        slots.free(0, 2)


def test_a_batch_that_would_have_to_wrap_begins_where_it_need_not() -> None:
    slots = Slots(10)
    slots.take(2)
    slots.take(5)
    slots.free(0, 2)
    slots.make_room(3)
    assert slots.take(1) == 7
    slots.free(2, 5)
    slots.make_room(7)
    assert slots.take(1) == 0


def test_where_no_whole_batch_has_room_rows_are_taken_as_they_come() -> None:
    slots = Slots(4)
    slots.take(2)
    slots.make_room(4)
    assert slots.take(2) == 2


@given(st.lists(st.integers(1, 5), max_size=60))
def test_no_row_is_given_twice_and_all_come_back(wanted: list[int]) -> None:
    slots, held = Slots(16), dict[int, int]()
    for rows in wanted:
        start = slots.take(rows)
        if start is None:
            if held:
                start, rows = held.popitem()
                slots.free(start, rows)
            continue
        held[start] = rows
        every = [row for first, count in held.items() for row in range(first, first + count)]
        assert len(every) == len(set(every)) == slots.taken
        assert max(every) < 16
    for start, rows in held.items():
        slots.free(start, rows)
    assert slots.taken == 0
    assert slots.take(16) == 0
