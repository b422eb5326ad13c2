from __future__ import annotations

import logging
from typing import Any

import pytest

from penstock.gateway.directory import Directory
from penstock.gateway.holdback import HoldBack
from penstock.gateway.removals import LET_GO_S, WINDOW_S
from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

AVAILABLE, UNLOADING = model_pb2.MODEL_STATE_AVAILABLE, model_pb2.MODEL_STATE_UNLOADING


def model(name: str = "digits", *, stable: int = 1, **desired: int) -> pb.ModelRecord:
    """With versions `v1=2`: two workers of version 1 are wanted."""
    versions = [
        pb.VersionRecord(manifest=model_pb2.Manifest(name=name, version=int(key[1:])), desired_instances=count)
        for key, count in (desired or {"v1": 2}).items()
    ]
    return pb.ModelRecord(name=name, versions=versions, aliases={"stable": stable})


def worker(worker_id: str, name: str = "digits", version: int = 1, **more: Any) -> pb.WorkerRecord:
    fields = {"epoch": 7, "state": AVAILABLE, **more}
    return pb.WorkerRecord(worker_id=worker_id, name=name, version=version, **fields)


class World:
    """A gateway's view behind a hold-back; workers in `dead` do not answer."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self.drains: set[str] = set()
        self.now = 0.0
        self.holdback = HoldBack(lambda w: w.worker_id not in self.dead, lambda w: w.worker_id in self.drains)
        self.directory = Directory()
        self.revision = 100

    def hear(self, *records: Any, registry: str = "a", revision: int | None = None, **more: Any) -> None:
        self.revision = self.revision + 1 if revision is None else revision
        change = pb.WatchResponse(registry_id=registry, revision=self.revision, **more)
        for record in records:
            kind = {pb.ModelRecord: "models", pb.WorkerRecord: "workers", pb.KeyRecord: "keys"}[type(record)]
            getattr(change, kind).append(record)
        self.directory.apply(self.holdback.take(change, self.now))

    def snapshot(self, *records: Any, **more: Any) -> None:
        self.hear(*records, snapshot=True, **more)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        shown = self.holdback.review(self.now)
        if shown is not None:
            self.directory.apply(shown)

    @property
    def workers(self) -> set[str]:
        return set(self.directory.workers)


@pytest.fixture
def world() -> World:
    world = World()
    workers = [worker(name) for name in "abcd"]
    world.snapshot(model(v1=4), model("other"), *workers, worker("x", "other"), pb.KeyRecord(key_id="k"))
    return world


# A registry that is believed


def test_a_change_that_removes_nothing_is_passed_on_untouched(world: World) -> None:
    change = pb.WatchResponse(registry_id="a", revision=500, workers=[worker("e")])
    assert world.holdback.take(change, 0.0) is change


@pytest.mark.parametrize("name", ["aaa", "zzz"])
def test_a_worker_that_is_listed_for_another_model_is_not_forgotten(name: str, world: World) -> None:
    moved = [worker(one, name, epoch=8) for one in "abcd"]
    world.snapshot(model(v1=4), model("other"), model(name, v1=4), *moved, worker("x", "other"))
    assert {one: world.directory.workers[one].name for one in "abcd"} == dict.fromkeys("abcd", name)
    assert not world.holdback.held


def test_half_may_go_and_more_may_not_even_one_after_the_other(world: World) -> None:
    for gone in "abcd":
        world.hear(removed_workers=[gone])
        world.wait(1.0)
    assert world.workers == {"c", "d", "x"}
    assert world.holdback.held == {"c", "d"}


def test_a_minute_later_the_count_begins_anew(world: World) -> None:
    world.hear(removed_workers=["a", "b"])
    world.wait(WINDOW_S)
    world.hear(removed_workers=["c"])
    assert world.workers == {"d", "x"}


def test_what_is_listed_again_is_no_longer_held(world: World) -> None:
    world.hear(removed_workers=["a", "b", "c", "d"])
    assert world.workers == {"a", "b", "c", "d", "x"}
    world.hear(*(worker(name, epoch=8) for name in "abcd"))
    assert world.holdback.held == frozenset()
    assert {world.directory.workers[name].epoch for name in "abcd"} == {8}


def test_others_than_the_held_ones_go_on_as_ever(world: World) -> None:
    world.hear(removed_workers=["a", "b", "c", "d"])
    world.hear(worker("y", "other"), model("new"))
    assert world.workers == {"a", "b", "c", "d", "x", "y"}
    assert "new" in world.directory.models


def test_when_enough_are_listed_again_the_rest_is_let_go(world: World) -> None:
    world.hear(removed_workers=["a", "b", "c", "d"])
    world.hear(*(worker(name) for name in "efgh"))
    world.wait(1.0)
    assert world.workers == {"e", "f", "g", "h", "x"}


@pytest.mark.parametrize("reason", ["dead", "drains", "state", "undeployed"])
def test_a_removal_with_a_reason_is_believed(world: World, reason: str) -> None:
    everybody = ["a", "b", "c", "d"]
    if reason == "dead":
        world.dead.update(everybody)
    elif reason == "drains":
        world.drains.update(everybody)
    elif reason == "state":
        world.hear(*(worker(name, state=UNLOADING) for name in everybody))
    else:
        world.hear(model(v1=0))
    world.hear(removed_workers=everybody)
    assert world.workers == {"x"}
    assert world.holdback.held == frozenset()


def test_scaling_down_is_believed_worker_by_worker(world: World) -> None:
    world.hear(model(v1=1))
    for name in "bcd":
        world.hear(worker(name, state=UNLOADING))
        world.hear(removed_workers=[name])
    assert world.workers == {"a", "x"}


def test_a_worker_that_loads_is_not_held(world: World) -> None:
    world.snapshot(model("slow"), worker("s", "slow", epoch=0))
    world.hear(removed_workers=["s"])
    assert world.workers == {"a", "b", "c", "d", "x"}


def test_a_snapshot_that_leaves_out_what_answers_is_held_back_model_by_model(world: World) -> None:
    world.snapshot(model(v1=4), worker("a"), worker("b"), worker("c"))
    assert world.workers == {"a", "b", "c", "x"}
    assert set(world.directory.models) == {"digits", "other"}
    assert world.holdback.held == {"x"}


def test_keys_of_a_registry_that_is_believed_are_revoked_at_once(world: World) -> None:
    world.snapshot(model(v1=4), model("other"))
    assert world.holdback.held
    assert world.directory.keys == {}


# Until they fail, or somebody confirms


def test_a_held_worker_that_fails_is_let_go_after_a_while_and_one_that_recovers_is_not(world: World) -> None:
    world.hear(removed_workers=["a", "b", "c", "d"])
    world.dead = {"a", "b"}
    world.wait(1.0)
    world.dead = {"a"}
    world.wait(LET_GO_S - 1.0)
    assert world.workers == {"a", "b", "c", "d", "x"}
    world.wait(1.0)
    assert world.workers == {"b", "c", "d", "x"}


def test_a_confirmation_lets_all_go_and_is_used_up(world: World) -> None:
    world.hear(removed_workers=["a", "b", "c", "d"])
    world.hear(confirmed_revision=world.revision + 1)
    assert world.workers == {"x"}
    world.hear(removed_workers=["x"], confirmed_revision=world.revision)
    assert world.workers == {"x"}


# A registry that is not believed


def test_an_empty_registry_changes_nothing(world: World) -> None:
    world.snapshot(registry="b", revision=1)
    world.wait(3600.0)
    assert world.workers == {"a", "b", "c", "d", "x"}
    assert set(world.directory.routes) == {"digits", "other"}
    assert set(world.directory.keys) == {"k"}
    assert world.holdback.state().registry_id == "a"


def test_a_registry_that_was_set_back_changes_nothing_that_works(world: World) -> None:
    world.hear(model(v1=0, v2=1, stable=2), worker("e", version=2))
    world.snapshot(model(v1=4), worker("a"), worker("b"), revision=50)
    assert world.directory.routes["digits"].aliases == {"stable": 1}  # which it serves
    world.snapshot(model(v1=4), revision=51)
    assert world.workers == {"a", "b", "x"}


def test_a_stranger_takes_over_a_model_as_soon_as_it_serves_it(world: World) -> None:
    world.snapshot(registry="b", revision=1)
    world.hear(model(v9=1, stable=9), registry="b", revision=2)
    assert world.directory.routes["digits"].aliases == {"stable": 1}
    world.hear(worker("n", version=9), registry="b", revision=3)
    assert world.directory.routes["digits"].aliases == {"stable": 9}
    assert world.workers == {"n", "x"}


def test_a_new_model_of_a_stranger_is_served(world: World) -> None:
    world.snapshot(model("new"), worker("n", "new"), registry="b", revision=1)
    assert world.workers == {"a", "b", "c", "d", "x", "n"}
    assert "new" in world.directory.routes


def test_when_the_old_registry_is_back_all_is_as_before(world: World) -> None:
    before = world.directory.state()
    world.snapshot(registry="b", revision=1)
    world.snapshot(*before.models, *before.workers, *before.keys, revision=2**33)
    assert world.holdback.held == frozenset()
    assert world.workers == {"a", "b", "c", "d", "x"}


def test_a_stranger_is_believed_when_nothing_old_answers_any_more(world: World) -> None:
    world.snapshot(registry="b", revision=1)
    world.dead = {"a", "b", "c", "d", "x"}
    world.wait(1.0)
    world.wait(LET_GO_S)
    assert (world.workers, world.directory.models, world.directory.keys) == (set(), {}, {})
    assert world.holdback.state().registry_id == "b"


def test_a_stranger_is_believed_when_an_operator_says_so(world: World) -> None:
    world.snapshot(registry="b", revision=1)
    world.hear(registry="b", revision=2, confirmed_revision=2)
    assert (world.workers, world.directory.models, world.directory.keys) == (set(), {}, {})
    world.hear(model("new"), registry="b", revision=3)
    assert set(world.directory.models) == {"new"}


def test_a_gateway_that_starts_from_disk_does_not_believe_an_empty_registry_either(world: World) -> None:
    state = world.holdback.state()
    second = World()
    second.holdback.restore(state)
    second.directory.apply(state)
    second.snapshot(registry="b", revision=1)
    assert second.workers == world.workers
    second.snapshot(*state.models, *state.workers, registry="a", revision=state.revision)
    assert second.holdback.held == frozenset()


def test_it_is_said_once_when_something_is_held_and_once_when_nothing_is(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "penstock.gateway"):
        world.hear(removed_workers=["a", "b", "c", "d"])
        world.wait(1.0)
        world.wait(1.0)
        world.hear(*(worker(name, epoch=8) for name in "abcd"))
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "no longer lists 4 workers that answer (of digits)" in caplog.text
    assert "penstock confirm-removal" in caplog.text
