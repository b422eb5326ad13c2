from __future__ import annotations

from typing import Any

from penstock.rpc.registries import Registries
from penstock.supervisor.registry_follower import RegistryFollower
from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb


def model(name: str, instances: int = 1) -> pb.ModelRecord:
    manifest = model_pb2.Manifest(name=name, version=1)
    return pb.ModelRecord(name=name, versions=[pb.VersionRecord(manifest=manifest, desired_instances=instances)])


def worker(worker_id: str) -> pb.WorkerRecord:
    return pb.WorkerRecord(worker_id=worker_id, name="a", version=1, epoch=5, state=model_pb2.MODEL_STATE_AVAILABLE)


class World:
    def __init__(self) -> None:
        self.follower = RegistryFollower(Registries("127.0.0.1:1"), "")
        self.changes = 0
        self.follower.on_change(self._changed)
        self.hear(models=[model("a"), model("b")], workers=[worker("w1"), worker("w2")])

    def _changed(self) -> None:
        self.changes += 1

    def hear(self, registry: str = "a", revision: int = 100, snapshot: bool = True, **more: Any) -> None:
        self.follower.apply(pb.WatchResponse(registry_id=registry, revision=revision, snapshot=snapshot, **more))

    @property
    def wanted(self) -> list[str]:
        return [want.name for want in self.follower.wants()]


async def test_what_the_registry_leaves_out_is_not_wanted_and_its_workers_leave() -> None:
    world = World()
    world.hear(models=[model("a")], workers=[worker("w1")], revision=101)
    assert world.wanted == ["a"]
    assert world.follower.may_stop
    assert (world.follower.is_leaving("w1"), world.follower.is_leaving("w2")) == (False, True)
    assert world.changes == 2


async def test_for_a_registry_that_has_lost_its_data_no_worker_is_stopped_or_leaves() -> None:
    world = World()
    world.hear("b", 1)
    believed = [world.follower.may_stop]
    assert not world.follower.is_leaving("w1")
    world.hear("b", 2, snapshot=False, models=[model("new")])
    assert world.wanted == ["new"]
    world.hear("a", 2**33, models=[model("a")], workers=[worker("w1")])
    believed.append(world.follower.may_stop)
    assert believed == [False, True]
    assert world.follower.is_leaving("w2")


async def test_a_confirmed_stranger_is_obeyed_and_the_old_ones_workers_belong_to_nobody() -> None:
    world = World()
    world.hear("b", 1, workers=[worker("w2")])
    world.hear("b", 2, snapshot=False, confirmed_revision=2)
    assert world.follower.may_stop
    assert (world.follower.is_disowned("w1"), world.follower.is_disowned("w2")) == (True, False)


async def test_a_confirmation_of_the_registry_that_was_always_there_disowns_nobody() -> None:
    world = World()
    world.hear("a", 101, snapshot=False, removed_workers=["w1"])
    world.hear("a", 102, snapshot=False, confirmed_revision=102)
    assert not world.follower.is_disowned("w1")
