from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.supervisor.plan import Plan, Running, Start, Want, plan


def want(instances: int = 1, version: int = 1) -> Want:
    return Want("m", version, instances, "auto")


def runs(worker_id: str, index: int = 0, version: int = 1, *, leaving: bool = False) -> Running:
    return Running(worker_id, "m", version, index, leaving)


def start(index: int = 0, version: int = 1) -> Start:
    return Start("m", version, index, "auto")


@pytest.mark.parametrize(
    ("wants", "running", "todo"),
    [
        ([], [], Plan()),
        ([want(2)], [], Plan(start=[start(0), start(1)])),
        ([want(2)], [runs("a", 1)], Plan(start=[start(0)])),
        ([want(2)], [runs("a", 0), runs("b", 1)], Plan()),
        ([want(1)], [runs("b", 1), runs("a", 0)], Plan(stop=["b"])),
        ([want(2)], [runs("a", 5)], Plan(start=[start(0)])),
        ([want(0)], [runs("a")], Plan(stop=["a"])),
        ([], [runs("a")], Plan(stop=["a"])),
        ([], [runs("a", leaving=True)], Plan()),
        ([want(1)], [runs("a", leaving=True)], Plan(start=[start(0)])),
        ([want(1)], [runs("a", leaving=True), runs("b")], Plan()),
        ([want(1, 2)], [runs("a")], Plan(start=[start(0, 2)], stop=["a"])),
        ([want(1), want(1, 2)], [runs("a")], Plan(start=[start(0, 2)])),
    ],
)
def test_the_plan(wants: list[Want], running: list[Running], todo: Plan) -> None:
    assert plan(wants, running) == todo


WANTS = st.lists(
    st.builds(Want, st.sampled_from("ab"), st.integers(1, 2), st.integers(0, 4), st.just("cpu")),
    unique_by=lambda w: (w.name, w.version),
)
RUNNING = st.lists(
    st.builds(
        Running, st.uuids().map(str), st.sampled_from("abc"), st.integers(1, 3), st.integers(0, 6), st.booleans()
    ),
    max_size=12,
    unique_by=lambda r: r.worker_id,
)


@given(WANTS, RUNNING)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(wants: list[Want], running: list[Running]) -> None:
    todo = plan(wants, running)
    left = [r for r in running if r.worker_id not in todo.stop]
    begun = [Running(f"new{n}", s.name, s.version, s.index, False) for n, s in enumerate(todo.start)]
    assert plan(wants, left + begun) == Plan()
    staying = [r for r in left + begun if not r.leaving]
    for one in wants:
        mine = [r.index for r in staying if (r.name, r.version) == (one.name, one.version)]
        assert len(mine) == one.instances
    assert all((r.name, r.version) in {(w.name, w.version) for w in wants} for r in staying)


@given(WANTS, RUNNING)
def test_new_instances_take_indices_that_are_free(wants: list[Want], running: list[Running]) -> None:
    taken = {(r.name, r.version, r.index) for r in running if not r.leaving}
    started = [(s.name, s.version, s.index) for s in plan(wants, running).start]
    assert len(set(started)) == len(started)
    assert not taken & set(started)
