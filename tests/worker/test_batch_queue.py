from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.worker.batch_queue import BatchPolicy, BatchQueue


@dataclass(frozen=True)
class Request:
    name: str
    rows: int = 1
    key: str = "k"
    deadline: float = math.inf


def queue(max_batch_size: int = 4, max_queue_size: int = 100) -> BatchQueue[Request]:
    return BatchQueue(BatchPolicy(max_batch_size=max_batch_size, max_queue_size=max_queue_size))


def names(requests: list[Request]) -> str:
    return "".join(request.name for request in requests)


@pytest.mark.parametrize(
    ("waiting", "batches"),
    [
        ([], [""]),
        ([Request("a")], ["a", ""]),
        ([Request("a"), Request("b")], ["ab"]),
        ([Request(n) for n in "abcdef"], ["abcd", "ef"]),
        ([Request("a", 3), Request("b", 2), Request("c", 1)], ["a", "bc"]),
        ([Request("a", 4), Request("b")], ["a", "b"]),
        ([Request("a", 9), Request("b")], ["a", "b"]),
        ([Request("a"), Request("b", 9), Request("c")], ["a", "b", "c"]),
        ([Request("a"), Request("x", key="other"), Request("b")], ["ab", "x"]),
        ([Request("x", key="other"), Request("a"), Request("b"), Request("y", key="other")], ["xy", "ab"]),
    ],
)
def test_batches_are_taken_in_the_order_of_arrival(waiting: list[Request], batches: list[str]) -> None:
    full = queue()
    for request in waiting:
        full.add(request)
    assert [names(full.take(0.0).batch) for _ in batches] == batches


def test_a_key_whose_first_request_was_left_behind_keeps_its_turn() -> None:
    full = queue(max_batch_size=2)
    for request in [Request("a"), Request("b", 2), Request("x", key="other")]:
        full.add(request)
    assert [names(full.take(0.0).batch) for _ in range(3)] == ["a", "b", "x"]


def test_late_requests_are_taken_out_and_not_run() -> None:
    full = queue()
    for request in [Request("a", deadline=1.0), Request("b", deadline=1.1), Request("c", deadline=0.5)]:
        full.add(request)
    taken = full.take(1.0)
    assert (names(taken.batch), names(taken.late), full.rows) == ("b", "ac", 0)


def test_late_requests_of_one_key_do_not_hide_the_requests_of_another() -> None:
    full = queue()
    for request in [Request("a", deadline=1.0), Request("x", key="other")]:
        full.add(request)
    taken = full.take(1.0)
    assert (names(taken.batch), names(taken.late)) == ("x", "a")


def test_there_is_room_for_as_many_rows_as_the_policy_says() -> None:
    full = queue(max_queue_size=5)
    assert full.add(Request("a", 3)) is not None
    assert full.add(Request("b", 3)) is None
    assert full.add(Request("c", 2)) is not None
    assert full.add(Request("d", 1)) is None
    assert full.rows == 5


def test_an_empty_queue_takes_a_request_of_any_size() -> None:
    assert queue(max_queue_size=5).add(Request("a", 9)) is not None


def test_a_removed_request_frees_its_room_and_a_second_removal_does_nothing() -> None:
    full = queue(max_queue_size=4)
    ticket = full.add(Request("a", 3))
    full.add(Request("b"))
    assert ticket is not None
    for _ in range(2):
        full.remove("k", ticket)
        assert full.rows == 1
    full.remove("unknown", ticket)
    assert full.add(Request("c", 3)) is not None
    assert names(full.take(0.0).batch) == "bc"


def test_removing_the_first_of_a_key_gives_the_turn_to_an_older_one() -> None:
    full = queue()
    first = full.add(Request("a"))
    full.add(Request("x", key="other"))
    full.add(Request("b"))
    assert first is not None
    full.remove("k", first)
    assert [names(full.take(0.0).batch) for _ in range(2)] == ["x", "b"]


@pytest.mark.parametrize(
    ("waiting", "full"),
    [
        ([], False),
        ([Request("a", 3)], False),
        ([Request("a", 3), Request("x", 3, key="other")], False),
        ([Request("a", 3), Request("b", 2)], True),
        ([Request("a", 4)], True),
    ],
)
def test_a_full_batch_waits_when_one_key_has_enough_rows(waiting: list[Request], full: bool) -> None:
    some = queue()
    for request in waiting:
        some.add(request)
    assert some.full_batch_waits() is full


def test_everything_can_be_taken_at_once_in_the_order_of_arrival() -> None:
    some = queue()
    for request in [Request("a"), Request("x", 2, key="other"), Request("b")]:
        some.add(request)
    assert names(some.take_all()) == "axb"
    assert (some.rows, some.take(0.0).batch, some.take_all()) == (0, [], [])


class AnyHistory(RuleBasedStateMachine):
    """The queue against the plainest model of it: a list."""

    MOST = 4

    def __init__(self) -> None:
        super().__init__()
        self.queue = queue(self.MOST, 12)
        self.waiting: list[tuple[int, Request]] = []
        self.now = 0.0
        self.made = 0

    @rule(rows=st.integers(1, 6), key=st.sampled_from("kl"), left=st.floats(-1, 5))
    def a_request_comes(self, rows: int, key: str, left: float) -> None:
        self.made += 1
        request = Request(str(self.made), rows, key, self.now + left)
        ticket = self.queue.add(request)
        fits = not self.waiting or sum(r.rows for _, r in self.waiting) + rows <= 12
        assert (ticket is not None) is fits
        if ticket is not None:
            self.waiting.append((ticket, request))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def a_caller_gives_up(self, data: st.DataObject) -> None:
        ticket, request = gone = data.draw(st.sampled_from(self.waiting))
        self.queue.remove(request.key, ticket)
        self.waiting.remove(gone)

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_batch_is_taken(self) -> None:
        taken = self.queue.take(self.now)
        before = [request for _, request in self.waiting]
        assert all(request.deadline <= self.now for request in taken.late)
        assert all(request.deadline > self.now for request in taken.batch)
        assert len({request.key for request in taken.batch}) <= 1
        assert len(taken.batch) <= 1 or sum(request.rows for request in taken.batch) <= self.MOST
        for key in "kl":
            left = [r for r in before if r.key == key]
            mine = [r for r in left if r in taken.batch or r in taken.late]
            assert mine == left[: len(mine)]
        gone = taken.batch + taken.late
        assert len(set(gone)) == len(gone)
        assert taken.batch or all(request in taken.late for request in before)
        self.waiting = [item for item in self.waiting if item[1] not in gone]

    @invariant()
    def the_rows_are_counted(self) -> None:
        assert self.queue.rows == sum(request.rows for _, request in self.waiting)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
