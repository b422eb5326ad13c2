from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.worker.engine.closing import Start
from penstock.worker.engine.queue import BatchQueue
from penstock.worker.engine.service_time import ServiceTimes
from penstock.worker.engine.waiting import Joiner


@dataclass(frozen=True, eq=False)
class Request:
    name: str
    rows: int = 1
    order: float = 0.0
    key: str = "k"
    deadline: float = math.inf
    suspect: bool = False
    streams: bool = False
    size: int = 10


def waiting(*requests: Request, most: int = 4, join: Joiner[Request] | None = None) -> BatchQueue[Request]:
    made = BatchQueue(most, join)
    for request in requests:
        made.add(request)
    return made


def start(at: float = 0.0, each: float = 0.0) -> Start:
    times = ServiceTimes()
    for rows in (1, 100):
        times.learn(rows, each * rows)
    return Start(at, times)


def names(requests: Sequence[Request]) -> str:
    return "".join(request.name for request in requests)


@pytest.mark.parametrize(
    ("requests", "batches"),
    [
        ([], [""]),
        ([Request("a")], ["a", ""]),
        ([Request("a"), Request("b")], ["ab"]),
        ([Request(n) for n in "abcdef"], ["abcd", "ef"]),
        ([Request("a", order=2), Request("b", order=3), Request("c", order=1)], ["cab"]),
        ([Request(n, order=-i) for i, n in enumerate("abcdef")], ["fedc", "ba"]),
        ([Request("a", 4), Request("b")], ["a", "b"]),
        ([Request("a", 9), Request("b")], ["a", "b"]),
        ([Request("a"), Request("b", 9), Request("c")], ["ac", "b"]),
        ([Request("a"), Request("x", key="other"), Request("b")], ["ab", "x"]),
        ([Request("x", key="other"), Request("a"), Request("b"), Request("y", key="other")], ["xy", "ab"]),
        ([Request("a", order=1), Request("x", order=2, key="other"), Request("b", order=3)], ["ab", "x"]),
        ([Request("a", order=2), Request("x", order=1, key="other"), Request("b", order=0)], ["ba", "x"]),
        ([Request("a"), Request("s", suspect=True), Request("b")], ["ab", "s"]),
        ([Request("s", suspect=True), Request("t", suspect=True), Request("a")], ["s", "t", "a"]),
    ],
)
def test_batches_are_of_one_key_and_the_soonest_come_first(requests: list[Request], batches: list[str]) -> None:
    some = waiting(*requests)
    assert [names(some.take(start()).batch) for _ in batches] == batches


@pytest.mark.parametrize(
    ("requests", "batches"),
    [
        ([Request("a", 3), Request("b", 2), Request("c", 1)], ["ac", "b"]),
        ([Request("a", 3), Request("b", 2), Request("c", 2), Request("d", 1), Request("e", 1)], ["ad", "bc", "e"]),
        ([Request("a", 1), Request("b", 4), Request("c", 2), Request("d", 2), Request("e", 1)], ["ace", "b", "d"]),
    ],
)
def test_what_is_left_of_a_batch_goes_to_those_whom_it_fits(requests: list[Request], batches: list[str]) -> None:
    some = waiting(*requests)
    assert [names(some.take(start()).batch) for _ in batches] == batches


def test_a_key_whose_first_request_was_left_behind_keeps_its_turn() -> None:
    some = waiting(Request("a", order=0), Request("b", 2, order=1), Request("x", order=2, key="other"), most=2)
    assert [names(some.take(start()).batch) for _ in range(3)] == ["a", "b", "x"]


@pytest.mark.parametrize(
    ("deadlines", "batch", "late"),
    [
        ([math.inf, math.inf, math.inf], "abc", ""),
        ([10.302, 10.302, 10.302], "abc", ""),
        ([10.300, 10.302, 10.302], "bc", "a"),
        ([10.300, 10.300, 10.302], "bc", "a"),
        ([10.300, 10.200, 10.150], "c", "ab"),
        ([10.050, 10.050, 10.050], "", "abc"),
        ([10.302, 10.050, 10.302], "ac", "b"),
    ],
    ids=[
        "nobody is in a hurry",
        "everybody is in time",
        "the first is not",
        "without it the others are",
        "only one alone is",
        "nobody is",
        "not only the first is looked at",
    ],
)
def test_who_could_not_be_answered_in_time_by_this_batch_is_given_up(
    deadlines: list[float], batch: str, late: str
) -> None:
    some = waiting(*(Request(name, deadline=deadline) for name, deadline in zip("abc", deadlines, strict=True)))
    taken = some.take(start(10.0, each=0.1))
    assert (names(taken.batch), names(taken.late), some.rows, some.size) == (batch, late, 0, 0)


def test_a_batch_is_not_made_smaller_so_that_the_oldest_can_be_in_it() -> None:
    some = waiting(Request("a", deadline=10.2), *(Request(name) for name in "bcdef"))
    taken = some.take(start(10.0, each=0.1))
    assert (names(taken.batch), names(taken.late)) == ("bcde", "a")


def test_late_requests_of_one_key_do_not_hide_the_requests_of_another() -> None:
    some = waiting(Request("a", deadline=1.0), Request("x", key="other"))
    taken = some.take(start(1.0))
    assert (names(taken.batch), names(taken.late)) == ("x", "a")


def test_what_is_answered_as_it_runs_need_only_begin_in_time() -> None:
    some = waiting(Request("a", deadline=10.0, streams=True), Request("b", deadline=9.9, streams=True), Request("c"))
    taken = some.take(start(10.0, each=0.1))
    assert (names(taken.batch), names(taken.late)) == ("ac", "b")


def test_a_removed_request_frees_its_room_and_a_second_removal_does_nothing() -> None:
    first = Request("a", 3)
    some = waiting(first, Request("b"))
    assert [some.remove(first), some.remove(first), some.remove(Request("c", key="unknown"))] == [True, False, False]
    assert (some.rows, some.size) == (1, 10)
    assert names(some.take(start()).batch) == "b"


def test_removing_the_first_of_a_key_gives_the_turn_to_a_sooner_one() -> None:
    first = Request("a", order=0)
    some = waiting(first, Request("x", order=1, key="other"), Request("b", order=2))
    some.remove(first)
    assert [names(some.take(start()).batch) for _ in range(3)] == ["x", "b", ""]


def test_removing_all_of_a_key_leaves_the_others() -> None:
    alone = Request("x", order=0, key="other")
    some = waiting(alone, Request("a", order=1))
    some.remove(alone)
    assert [names(some.take(start()).batch) for _ in range(2)] == ["a", ""]


@pytest.mark.parametrize(
    ("requests", "full"),
    [
        ([], False),
        ([Request("a", 3)], False),
        ([Request("a", 3), Request("x", 3, key="other")], False),
        ([Request("a", 3), Request("b", 2)], True),
        ([Request("a", 4)], True),
        ([Request("a", 3, order=0), Request("x", 4, order=1, key="other")], False),
        ([Request("a", 3, order=1), Request("x", 4, order=0, key="other")], True),
    ],
)
def test_the_next_batch_is_full_when_its_key_has_enough_rows(requests: list[Request], full: bool) -> None:
    assert waiting(*requests).full() is full


@pytest.mark.parametrize(
    ("request_", "ahead"),
    [
        (Request("n", order=0.5), 0),
        (Request("n", order=2), 4),
        (Request("n", order=9), 6),
        (Request("n", order=9, key="new"), 0),
        (Request("n", order=9, suspect=True), 0),
    ],
)
def test_the_rows_that_leave_before_a_new_request(request_: Request, ahead: int) -> None:
    some = waiting(*(Request(str(order), 2, order) for order in (1, 2, 3)))
    assert some.rows_ahead(request_) == ahead


def test_other_keys_are_taken_to_be_as_far_as_ones_own() -> None:
    own = [Request(str(order), 1, order) for order in range(4)]
    some = waiting(*own, *(Request("x", 1, order, key="other") for order in range(40)))
    assert some.rows_ahead(Request("n", order=1)) == 22


def test_everything_can_be_taken_at_once_the_soonest_first() -> None:
    some = waiting(Request("a", order=1), Request("x", 2, order=2, key="other"), Request("b", order=0))
    assert names(some.take_all()) == "bax"
    assert (some.rows, some.size, some.take(start()).batch, some.take_all()) == (0, 0, [], [])


class Shortest:
    """Joins those with the smallest size."""

    def __init__(self) -> None:
        self.offered: list[tuple[str, int, float]] = []

    def __call__(self, waiting: Sequence[Request], rows: int, soon: float) -> Sequence[Request]:
        self.offered.append((names(waiting), rows, soon))
        return sorted(waiting, key=lambda request: request.size)[:rows]


def test_a_joiner_chooses_from_a_window_which_requests_fit_together() -> None:
    join = Shortest()
    some = waiting(*(Request(name, order=i, size=i % 3) for i, name in enumerate("abcdefghijk")), most=2, join=join)
    assert [names(some.take(start(10.0, each=0.1)).batch) for _ in range(3)] == ["ad", "gj", "be"]
    assert (some.rows, some.size) == (5, 8)
    window, rows, soon = join.offered[0]
    assert (window, rows) == ("abcdefgh", 2)
    assert soon == pytest.approx(10.0 + 0.2 + 0.001 + 0.2)


def test_a_joiner_is_not_offered_what_would_be_late() -> None:
    join = Shortest()
    some = waiting(Request("a", deadline=10.0), Request("b"), Request("c", deadline=9.0), join=join)
    taken = some.take(start(10.0))
    assert (names(taken.batch), names(taken.late), join.offered[0][0]) == ("b", "ac", "b")


def test_a_joiner_that_chooses_nothing_gets_the_soonest() -> None:
    some = waiting(Request("a"), Request("b"), join=lambda waiting, rows, soon: [])
    assert [names(some.take(start()).batch) for _ in range(3)] == ["a", "b", ""]


def test_a_joiner_is_offered_a_request_that_is_larger_than_its_window() -> None:
    some = waiting(Request("a", 99), Request("b"), most=2, join=Shortest())
    assert names(some.take(start()).batch) == "a"


class AnyHistory(RuleBasedStateMachine):
    """The queue against the plainest model of it: a list."""

    MOST = 4
    EACH = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.queue = waiting(most=self.MOST)
        self.waiting: list[Request] = []
        self.now = 0.0

    @rule(rows=st.integers(1, 6), key=st.sampled_from("klm"), left=st.floats(-1, 9), suspect=st.booleans())
    def a_request_comes(self, rows: int, key: str, left: float, suspect: bool) -> None:
        request = Request("", rows, self.now + left, key, self.now + left, suspect)
        self.queue.add(request)
        self.waiting.append(request)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def a_caller_gives_up(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.waiting))
        assert self.queue.remove(gone)
        assert not self.queue.remove(gone)
        self.waiting.remove(gone)

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_batch_is_taken(self) -> None:
        begin = start(self.now, self.EACH)
        taken = self.queue.take(begin)
        gone = taken.batch + taken.late
        rows = sum(request.rows for request in taken.batch)
        assert all(request.deadline >= begin.end(min(rows, self.MOST)) for request in taken.batch)
        assert all(request.deadline < begin.end(self.MOST) for request in taken.late)
        assert len(taken.batch) <= 1 or rows <= self.MOST
        assert len({request if request.suspect else request.key for request in taken.batch}) <= 1
        assert len(set(gone)) == len(gone)
        assert set(gone) <= set(self.waiting)
        self.waiting = [request for request in self.waiting if request not in gone]
        assert taken.batch or not self.waiting
        if taken.batch:
            first = taken.batch[0]  # a suspect is a group of its own
            group = [request for request in self.waiting if request.key == first.key and not request.suspect]
            assert first.suspect or all(first.order <= request.order for request in group)

    @rule()
    def all_is_taken(self) -> None:
        assert sorted(map(id, self.queue.take_all())) == sorted(map(id, self.waiting))
        self.waiting = []

    @invariant()
    def rows_and_bytes_are_counted(self) -> None:
        assert self.queue.rows == sum(request.rows for request in self.waiting)
        assert self.queue.size == sum(request.size for request in self.waiting)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
