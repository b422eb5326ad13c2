from __future__ import annotations

import asyncio

import pytest

from penstock.gateway.directory import Directory
from penstock.gateway.routing import State
from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from .fakes import AVAILABLE, END, LOADING, UNLOADING, directory, model


def worker(worker_id: str, epoch: int = 1, state: int = AVAILABLE) -> pb.WorkerRecord:
    fields = {"name": "digits", "version": 1, "address": "unix:/w"}
    return pb.WorkerRecord(worker_id=worker_id, epoch=epoch, state=state, **fields)  # type: ignore[arg-type]


def test_nothing_is_known_before_the_first_snapshot() -> None:
    made = Directory()
    assert not made.known
    made.apply(pb.WatchResponse(snapshot=True))
    assert made.known


def test_a_snapshot_replaces_everything() -> None:
    made = directory(model("old"), model("digits"))
    made.apply(pb.WatchResponse(workers=[worker("a")], keys=[pb.KeyRecord(key_id="k")]))
    made.apply(pb.WatchResponse(snapshot=True, models=[model("new")]))
    assert (set(made.models), set(made.routes), made.workers, made.keys) == ({"new"}, {"new"}, {}, {})


def test_a_change_leaves_the_rest() -> None:
    made = directory(model("a"), model("b"))
    made.apply(pb.WatchResponse(models=[model("b", [LOADING])]))
    assert made.routes["a"].versions == {1: State.SERVING}
    assert made.routes["b"].versions == {1: State.LOADING}


def test_keys_come_and_go() -> None:
    made = directory()
    made.apply(pb.WatchResponse(keys=[pb.KeyRecord(key_id="k", name="ann", scopes=["admin"])]))
    assert made.keys["k"].principal.name == "ann"
    made.apply(pb.WatchResponse(models=[model("other")]))
    assert set(made.keys) == {"k"}
    made.apply(pb.WatchResponse(removed_keys=["k", "never"]))
    assert made.keys == {}


def test_only_workers_with_a_lease_are_endpoints() -> None:
    made = directory()
    made.apply(pb.WatchResponse(workers=[worker("a"), worker("loading", epoch=0, state=LOADING)]))
    assert [e.worker_id for e in made.endpoints()] == ["a"]
    assert [w.worker_id for w in made.workers_of("digits")] == ["a", "loading"]


def test_a_worker_that_unloads_is_draining() -> None:
    made = directory()
    made.apply(pb.WatchResponse(workers=[worker("a", state=UNLOADING)]))
    assert [e.draining for e in made.endpoints()] == [True]


@pytest.mark.parametrize(
    ("state", "error", "desired", "expected"),
    [
        (AVAILABLE, "", 1, State.SERVING),
        (AVAILABLE, "old", 1, State.SERVING),
        (model_pb2.MODEL_STATE_START, "", 1, State.LOADING),
        (LOADING, "", 1, State.LOADING),
        (LOADING, "boom", 1, State.FAILED),
        (END, "boom", 1, State.FAILED),
        (END, "boom", 0, State.UNDEPLOYED),
        (END, "", 0, State.UNDEPLOYED),
        (UNLOADING, "", 0, State.UNDEPLOYED),
    ],
)
def test_what_a_versions_state_means_for_routing(state: int, error: str, desired: int, expected: State) -> None:
    record = model(states=[state])
    record.versions[0].load_error, record.versions[0].desired_instances = error, desired
    assert directory(record).routes["digits"].versions[1] is expected


def test_listeners_hear_which_models_changed() -> None:
    made = directory(model("a"), model("b"))
    heard: list[set[str]] = []
    made.listen(heard.append)
    made.apply(pb.WatchResponse(workers=[worker("w")]))
    made.apply(pb.WatchResponse(removed_workers=["w", "never"]))
    made.apply(pb.WatchResponse(snapshot=True, models=[model("c")]))
    assert heard == [{"digits"}, {"digits"}, {"a", "b", "c"}]


def test_its_state_is_a_snapshot_that_makes_the_same_directory() -> None:
    made = directory(model("a"))
    made.apply(pb.WatchResponse(workers=[worker("w")], keys=[pb.KeyRecord(key_id="k", sha256=b"x")]))
    again = Directory()
    again.apply(made.state())
    assert (again.models, again.workers, again.keys) == (made.models, made.workers, made.keys)


async def test_changes_begin_with_all_and_tell_what_comes_fast_at_once() -> None:
    made = directory(model("a"), model("b"))
    changes = made.changes()
    assert await anext(changes) == {"a", "b"}
    made.apply(pb.WatchResponse(models=[model("a", [LOADING])]))
    made.apply(pb.WatchResponse(models=[model("c")]))
    made.apply(pb.WatchResponse(models=[model("a")]))
    assert await anext(changes) == {"a", "c"}
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(1)
    assert not waiting.done()
    made.apply(pb.WatchResponse(models=[model("b")]))
    assert await waiting == {"b"}


async def test_two_followers_hear_the_same() -> None:
    made = directory(model("a"))
    one, other = made.changes(), made.changes()
    await anext(one)
    await anext(other)
    made.apply(pb.WatchResponse(models=[model("b")]))
    assert await anext(one) == await anext(other) == {"b"}
