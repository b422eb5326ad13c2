from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import MemoryBudgetExceeded
from penstock.registry.budget import NO_ROOM, Allotment, Budget, Held, Key, Rank, Wish, allot, check_room

PINNED, ALIASED, CHOSEN, SPARE = Rank
READY, LOADING = Held(1, ready=True), Held(1, ready=False)


def key(version: int, name: str = "m") -> Key:
    return name, version


def needs(*keys: Key, memory: int = 1) -> dict[Key, int]:
    return dict.fromkeys(keys, memory)


def decided(
    wishes: dict[int, Wish], held: dict[int, Held], memory: int, begun: tuple[int, ...] = ()
) -> tuple[set[int], set[int]]:
    """The versions that are granted, and those that wait; each worker takes 1 of `memory`."""
    wished, holding = ({key(n): what for n, what in some.items()} for some in (wishes, held))
    found = allot(wished, holding, needs(*wished, *holding), Budget(memory), {key(n) for n in begun})  # type: ignore[arg-type]
    return {n for _, n in found.granted}, {n for _, n in found.waits}


def spare(age: float, instances: int = 1) -> Wish:
    return Wish(SPARE, instances, age=age)


@pytest.mark.parametrize(
    ("wishes", "held", "memory", "granted", "waits"),
    [
        ({1: Wish(ALIASED), 2: Wish(CHOSEN)}, {}, 2, {1, 2}, set()),
        ({1: Wish(ALIASED), 2: Wish(CHOSEN)}, {}, 1, {1, 2}, set()),  # what is needed was let in before
        ({1: Wish(ALIASED), 2: spare(5)}, {1: READY, 2: READY}, 1, {1}, {2}),
        ({1: Wish(ALIASED), 2: spare(5), 3: spare(4)}, {}, 2, {1, 3}, {2}),  # the least recently used gives way
        ({1: Wish(ALIASED, 2), 2: spare(5)}, {1: READY, 2: READY}, 2, {1}, {2}),  # instances count
        ({2: spare(5, 2), 3: spare(9)}, {}, 2, {2}, {3}),
        ({2: spare(5, 3), 3: spare(9)}, {}, 2, {3}, {2}),  # what does not fit at all keeps nobody out
        # Nothing is started in the place of what is not gone yet.
        ({1: Wish(ALIASED), 3: Wish(PINNED)}, {1: READY, 2: READY}, 2, {1}, {3}),
        ({1: Wish(ALIASED), 3: Wish(PINNED)}, {1: READY}, 2, {1, 3}, set()),
        ({1: Wish(ALIASED), 3: Wish(PINNED)}, {1: READY, 2: READY}, 3, {1, 3}, set()),
        ({1: Wish(ALIASED), 3: spare(0)}, {1: READY, 2: READY}, 2, {1}, {3}),
        ({3: Wish(PINNED)}, {3: READY, 2: READY}, 1, {3}, set()),  # what is there stays
    ],
)
def test_what_may_be_loaded(
    wishes: dict[int, Wish], held: dict[int, Held], memory: int, granted: set[int], waits: set[int]
) -> None:
    assert decided(wishes, held, memory) == (granted, waits)


def yields(rank: Rank, order: int) -> Wish:
    return Wish(rank, yields=True, age=float(order))


@pytest.mark.parametrize(
    ("wishes", "held", "granted", "waits"),
    [
        ({1: yields(ALIASED, 1), 2: yields(CHOSEN, 0)}, {1: READY}, {1}, {2}),  # publishing alone changes nothing
        ({1: yields(ALIASED, 1), 2: yields(PINNED, 0)}, {1: READY}, set(), {1, 2}),  # first the old one goes
        ({1: yields(ALIASED, 1), 2: yields(PINNED, 0)}, {}, {2}, {1}),  # then the new one is loaded
        ({2: yields(ALIASED, 0), 1: spare(3)}, {2: READY}, {2}, {1}),
        ({1: yields(PINNED, 1), 2: yields(PINNED, 0)}, {}, {2}, {1}),  # the newer one
        ({2: yields(ALIASED, 0), 1: yields(PINNED, 1)}, {}, {1}, {2}),  # a rollback
    ],
)
def test_versions_that_make_way_for_each_other(
    wishes: dict[int, Wish], held: dict[int, Held], granted: set[int], waits: set[int]
) -> None:
    assert decided(wishes, held, memory=1) == (granted, waits)


@pytest.mark.parametrize(
    ("held", "begun", "granted"),
    [
        ({}, (), {2}),
        ({}, (1,), {1}),  # its process is about to start
        ({1: LOADING}, (1,), {1}),
        ({1: READY}, (1,), set()),  # it has answered: it may go for the other
    ],
)
def test_a_load_that_has_begun_is_not_given_up_for_a_later_wish(
    held: dict[int, Held], begun: tuple[int, ...], granted: set[int]
) -> None:
    assert decided({1: spare(5), 2: spare(0)}, held, 1, begun)[0] == granted


def test_what_is_needed_and_has_lost_its_worker_does_not_wait_for_others_to_be_gone() -> None:
    wishes = {1: Wish(ALIASED), 3: Wish(PINNED)}
    held = {2: READY}  # on its way out, in favour of 3
    assert decided(wishes, held, 2, begun=(1,)) == ({1}, {3})
    assert decided(wishes, held, 2) == ({3}, {1})


def test_a_load_that_has_failed_goes_behind_what_it_would_take_the_place_of() -> None:
    wishes = {key(1): yields(ALIASED, 1), key(2): yields(PINNED, 0)}
    found = allot(wishes, {}, needs(*wishes), Budget(memory=1), failed={key(2)})
    assert found.granted == {key(1)}


@pytest.mark.parametrize(("begun", "granted"), [((1, 2), {1, 2}), ((2,), {2}), ((), {2})])
def test_what_answers_stays_though_it_has_grown(begun: tuple[int, ...], granted: set[int]) -> None:
    wishes = {1: yields(ALIASED, 1), 2: yields(ALIASED, 0)}
    assert decided(wishes, {1: READY, 2: READY}, 1, begun)[0] == granted


def test_why_something_waits_is_said() -> None:
    wishes = {key(1): Wish(ALIASED), key(2): Wish(PINNED), key(9): spare(1)}
    held = {key(n): READY for n in (1, 3, 4, 5, 6)}
    found = allot(wishes, held, needs(*wishes, *held), Budget(memory=2))
    assert found.waits == {
        key(2): "it waits until m:3, m:4, m:5 and 1 more are unloaded",
        key(9): NO_ROOM,
    }


def test_the_number_of_versions_can_be_bounded_too() -> None:
    wishes = {key(n): spare(n, instances=3) for n in (1, 2, 3)}
    assert allot(wishes, {}, needs(*wishes), Budget(versions=2)) == Allotment(
        {key(1), key(2)}, dict.fromkeys([key(3)], NO_ROOM)
    )


WISHES = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.integers(1, 4)),
    st.builds(Wish, st.sampled_from(Rank), st.integers(1, 3), st.booleans(), st.floats(0, 9)),
    max_size=6,
)
HELD = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.integers(1, 5)), st.builds(Held, st.integers(1, 3), st.booleans()), max_size=6
)


@given(WISHES, HELD, st.integers(1, 9), st.sets(st.tuples(st.sampled_from("ab"), st.integers(1, 4))))
def test_memory_is_never_promised_twice(
    wishes: dict[Key, Wish], held: dict[Key, Held], memory: int, begun: set[Key]
) -> None:
    found = allot(wishes, held, needs(*wishes, *held), Budget(memory), begun)
    assert found.granted.isdisjoint(found.waits)
    assert found.granted | found.waits.keys() == wishes.keys()
    started = [k for k in found.granted if k not in held]
    strict = all(not w.needed or w.yields for w in wishes.values())
    if strict and started:
        there = sum(max(h.workers, wishes[k].instances if k in found.granted else 0) for k, h in held.items())
        leaving = any(k not in found.granted for k in held)
        assert not leaving or there + sum(wishes[k].instances for k in started) <= memory


@given(WISHES, st.integers(1, 9))
def test_what_was_granted_is_granted_again_once_it_is_there(wishes: dict[Key, Wish], memory: int) -> None:
    budget, cost = Budget(memory), needs(*wishes)
    first = allot(wishes, {}, cost, budget)
    held = {k: Held(wishes[k].instances, ready=True) for k in first.granted}
    assert allot(wishes, held, cost, budget, first.granted) == first


@pytest.mark.parametrize(
    ("before", "after", "memory", "refused"),
    [
        ({}, {1: Wish(ALIASED)}, 3, False),
        ({1: Wish(ALIASED)}, {1: Wish(ALIASED), 2: Wish(CHOSEN)}, 3, False),
        ({1: Wish(ALIASED)}, {1: Wish(ALIASED), 2: Wish(CHOSEN)}, 2, True),
        ({1: Wish(ALIASED)}, {1: Wish(ALIASED, 2)}, 2, True),
        ({1: Wish(ALIASED)}, {1: Wish(ALIASED), 2: spare(3)}, 2, False),  # what can give way is never refused
        ({1: Wish(ALIASED), 2: Wish(CHOSEN)}, {1: spare(0), 2: Wish(ALIASED)}, 1, False),  # it is less than now
        ({1: yields(ALIASED, 1)}, {1: yields(ALIASED, 1), 2: yields(PINNED, 0)}, 2, False),
        ({1: yields(ALIASED, 1)}, {1: yields(ALIASED, 1), 2: Wish(PINNED, 2, yields=True)}, 2, True),
    ],
)
def test_a_change_for_which_there_is_no_room_is_refused(
    before: dict[int, Wish], after: dict[int, Wish], memory: int, refused: bool
) -> None:
    others = {key(1, "other"): Wish(ALIASED), key(2, "other"): spare(0)}
    now, then = ({key(n): wish for n, wish in some.items()} for some in (before, after))
    asked = ("m", others, now, then, needs(*others, *now, *then), Budget(memory))
    if refused:
        with pytest.raises(MemoryBudgetExceeded, match="--resource-preserving"):
            check_room(*asked)
    else:
        check_room(*asked)


def test_a_refusal_says_how_much_is_needed_and_how_much_there_is() -> None:
    wishes = {key(1): Wish(ALIASED), key(2): Wish(CHOSEN)}
    cost = needs(*wishes, memory=1_250_000_000)
    text = "loaded versions would need 2.5 GB, and memory_budget is 640.0 MB; undeploy something"
    with pytest.raises(MemoryBudgetExceeded, match=text):
        check_room("m", {}, {}, wishes, cost, Budget(640_000_000))
    with pytest.raises(MemoryBudgetExceeded, match="2 versions would be loaded, and max_loaded is 1"):
        check_room("m", {}, {}, wishes, cost, Budget(versions=1))
