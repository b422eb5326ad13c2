"""Splits, shadows and canaries in a registry: what is reported, decided by itself, shown, and known after a restart."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from penstock import errors
from penstock.histogram import Histogram, bucket_of
from penstock.registry.ledger import MAX_GATEWAYS, Report
from penstock.registry.registry import opened
from penstock.registry.state import LoadFailure, State
from penstock.registry.traffic import (
    AliasTraffic,
    Arm,
    CanaryPolicy,
    CanaryState,
    Comparison,
    Evidence,
    Part,
    Shadow,
    Split,
)
from penstock.registry.traffic_control import SAVE_S
from penstock.registry.traffic_records import traffic_from_message, traffic_to_message
from penstock.v1 import traffic_pb2

from .conftest import World, worker
from .wire import Stub, ask, publish, register

HALVES = Split((Part(1, 1.0), Part(2, 1.0)))
POLICY = CanaryPolicy(steps=(50.0, 100.0), min_requests=100, min_step_s=0.0)


async def two_versions(world: World) -> None:
    await world.publish_and_serve(1, "w1")
    await world.publish_and_serve(2, "w2")


def traffic(world: World) -> AliasTraffic:
    (found,) = world.registry.traffic.of("digits", "stable")
    return found


def arm(version: int, requests: int, failures: int = 0) -> Arm:
    return Arm(version, requests, failures, 0, Histogram({bucket_of(0.004): requests - failures}))


def report(world: World, *arms: Arm, sequence: int, gateway: str = "g1", revision: int | None = None) -> None:
    known = traffic(world).revision if revision is None else revision
    world.registry.traffic.report(gateway, sequence, [Report("digits", "stable", Evidence(known, 0, arms))])


async def start(world: World, policy: CanaryPolicy = POLICY) -> None:
    await world.registry.traffic.start_canary("digits", "", 2, policy, "", None, "ann")


async def tick(world: World, seconds: float = 1.0) -> None:
    world.wall.now += seconds
    world.monotonic.now += seconds
    world.registry.fleet.prolong(seconds)
    await world.registry.tick()


async def test_an_empty_alias_is_stable(world: World) -> None:
    await two_versions(world)
    changed = await world.registry.traffic.set_split("digits", "", HALVES, None, "ann")
    assert (changed.alias, changed.split) == ("stable", HALVES)
    assert world.registry.model("digits").settings.traffic == (changed,)


async def test_reports_add_up_and_each_counts_once(world: World) -> None:
    await two_versions(world)
    await world.registry.traffic.set_split("digits", "", HALVES, None, "ann")
    report(world, arm(1, 10), arm(2, 5, 1), sequence=1)
    report(world, arm(1, 10), arm(2, 5, 1), sequence=1)
    report(world, arm(1, 1), sequence=2)
    report(world, arm(1, 100), sequence=1, gateway="g2")
    evidence = traffic(world).evidence
    assert (evidence.arm(1).requests, evidence.arm(2).requests, evidence.arm(2).failures) == (111, 5, 1)


async def test_what_was_counted_for_an_earlier_revision_is_left_out(world: World) -> None:
    await two_versions(world)
    await world.registry.traffic.set_split("digits", "", HALVES, None, "ann")
    report(world, arm(1, 10), sequence=1)
    await world.registry.traffic.set_split("digits", "", Split((Part(1, 3.0), Part(2, 1.0))), None, "ann")
    report(world, arm(1, 20), sequence=2, revision=1)
    assert traffic(world).evidence.arms == ()
    report(world, arm(1, 30), sequence=3)
    assert traffic(world).evidence.arm(1).requests == 30


async def test_reports_on_what_is_not_there_are_left_out(world: World) -> None:
    await two_versions(world)
    nowhere = Report("nothere", "stable", Evidence(1, 0, (arm(1, 1),)))
    world.registry.traffic.report("g1", 1, [nowhere, Report("digits", "beta", Evidence(0, 0, (arm(1, 1),)))])
    assert world.registry.traffic.of("digits", "") == []


async def test_comparisons_outlive_a_new_split_and_not_a_new_shadow(world: World) -> None:
    await two_versions(world)
    control = world.registry.traffic
    await control.set_shadow("digits", "", Shadow(2, 1.0, 0.001), None, "ann")
    counted = Evidence(0, 1, (), (Comparison(1, 2, mirrored=5, same=5),))
    control.report("g1", 1, [Report("digits", "stable", counted)])
    await control.set_split("digits", "", HALVES, None, "ann")
    assert traffic(world).evidence.comparison(1, 2).same == 5
    await control.set_shadow("digits", "", Shadow(2, 0.5, 0.001), None, "ann")
    assert traffic(world).evidence.comparisons == ()


async def test_a_canary_that_fails_is_taken_back_by_itself_and_why_is_shown_and_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await two_versions(world)
    await start(world)
    report(world, arm(1, 1000), arm(2, 1000, 60), sequence=1)
    with caplog.at_level(logging.WARNING, "penstock.registry"):
        await tick(world)
    ended = traffic(world).canary
    assert ended is not None
    assert ended.state is CanaryState.ROLLED_BACK
    assert "6.00% failed, against 0.00%" in ended.explanation
    assert traffic(world).split is None
    assert world.registry.model("digits").aliases == {"stable": 1}
    assert traffic(world).changes[-1].principal == "canary of ann"
    assert "canary of digits@stable: roll_back: step 1 of 2 (50 %)" in caplog.text
    await tick(world)
    assert traffic(world).revision == 2


async def test_a_canary_that_does_well_is_promoted_and_can_be_rolled_back(world: World) -> None:
    await two_versions(world)
    await start(world)
    report(world, arm(1, 4000), arm(2, 4000), sequence=1)
    await tick(world)
    ended = traffic(world).canary
    assert ended is not None
    assert ended.state is CanaryState.PROMOTED
    assert world.registry.model("digits").aliases == {"stable": 2}
    assert world.registry.alias_changes("digits", "stable")[0].principal == "canary of ann"
    await world.registry.rollback_alias("digits", "", "bob")
    assert world.registry.model("digits").aliases == {"stable": 1}


async def test_a_canary_goes_on_step_by_step_and_counts_anew(world: World) -> None:
    await two_versions(world)
    await start(world, CanaryPolicy(steps=(10.0, 50.0, 100.0), min_requests=100, min_step_s=5.0))
    report(world, arm(1, 4000), arm(2, 4000), sequence=1)
    await tick(world)
    running = traffic(world).running
    assert running is not None
    assert running.step == 0
    assert "4 s more" in running.explanation
    await tick(world, 5.0)
    running = traffic(world).running
    assert running is not None
    assert running.step == 1
    assert traffic(world).evidence.arms == ()


async def test_a_canary_whose_version_answers_no_more_is_not_promoted(world: World) -> None:
    await two_versions(world)
    await start(world)
    report(world, arm(1, 4000), arm(2, 4000), sequence=1)
    await world.registry.revoke_lease("w2")
    await tick(world)
    running = traffic(world).running
    assert running is not None
    assert "waits until it is AVAILABLE" in running.explanation
    await world.registry.register_worker(worker("w3", "digits", 2), None)
    await tick(world)
    assert world.registry.model("digits").aliases == {"stable": 2}


async def test_a_canary_whose_version_cannot_be_loaded_is_taken_back(world: World) -> None:
    await two_versions(world)
    await start(world)
    await world.registry.revoke_lease("w2")
    world.registry.report_load(worker("w3", "digits", 2, state=State.END), LoadFailure("no such file"))
    await tick(world)
    ended = traffic(world).canary
    assert ended is not None
    assert ended.state is CanaryState.ROLLED_BACK


@pytest.mark.parametrize(("promote", "means"), [(False, 1), (True, 2)])
async def test_somebody_may_end_a_canary_either_way(world: World, promote: bool, means: int) -> None:
    await two_versions(world)
    await start(world)
    ended = await world.registry.traffic.stop_canary("digits", "", promote, "bob")
    assert ended.canary is not None
    assert ended.canary.state is (CanaryState.PROMOTED if promote else CanaryState.STOPPED)
    assert ended.canary.explanation == "by bob"
    assert world.registry.model("digits").aliases == {"stable": means}


async def test_a_registry_that_is_killed_goes_on_with_the_step_and_counts_nothing_twice(world: World) -> None:
    await two_versions(world)
    await start(world)
    report(world, arm(1, 1000), arm(2, 1000, 5), sequence=7)
    await tick(world, SAVE_S)
    report(world, arm(1, 1), sequence=8)  # lost
    again = await opened(world.store, wall=world.wall, monotonic=world.monotonic)
    world.registry = again
    assert traffic(world).running is not None
    assert traffic(world).evidence.arm(2).failures == 5
    report(world, arm(2, 50, 50), sequence=7)  # sent again: its answer was lost
    assert traffic(world).evidence.arm(2).failures == 5
    report(world, arm(1, 1), sequence=8)
    assert traffic(world).evidence.arm(1).requests == 1001


async def test_a_decision_outlives_the_registry(world: World) -> None:
    await two_versions(world)
    await start(world)
    report(world, arm(1, 1000), arm(2, 1000, 60), sequence=1)
    await tick(world)
    before = traffic(world)
    world.registry = await opened(world.store, wall=world.wall, monotonic=world.monotonic)
    await tick(world)
    assert (traffic(world).canary, traffic(world).revision) == (before.canary, before.revision)


async def test_followers_hear_of_decisions_at_once_and_of_counts_now_and_then(world: World) -> None:
    await two_versions(world)
    await world.registry.traffic.set_split("digits", "", HALVES, None, "ann")
    revision = world.registry.hub.revision
    for sequence in range(1, 6):
        report(world, arm(1, 10), sequence=sequence)
        await tick(world)
    assert world.registry.hub.revision == revision + 1


async def test_gateways_that_come_and_go_take_no_memory(world: World) -> None:
    await two_versions(world)
    await world.registry.traffic.set_split("digits", "", HALVES, None, "ann")
    for number in range(2 * MAX_GATEWAYS):
        report(world, arm(1, 1), sequence=1, gateway=f"g{number}")
    assert len(traffic(world).evidence.reports) == 64
    report(world, arm(1, 1), sequence=1, gateway=f"g{2 * MAX_GATEWAYS - 1}")
    assert traffic(world).evidence.arm(1).requests == 2 * MAX_GATEWAYS


async def test_everything_survives_the_wire(world: World) -> None:
    await two_versions(world)
    control = world.registry.traffic
    await start(world)
    await control.set_shadow("digits", "", Shadow(2, 0.25, 0.01), None, "ann")
    compared = Comparison(1, 2, 9, 1, 1, 1, 3, 4, 2, 1, 8, 7, Histogram({3: 4}), slower_s=-0.5)
    counted = Evidence(2, 2, (Arm(1, 5, 1, 1, Histogram(Counter({-60: 3})), 2),), (compared,))
    control.report("g1", 1, [Report("digits", "stable", counted)])
    found = traffic(world)
    assert found.evidence.arm(1).pending == 2
    assert traffic_from_message(traffic_to_message(found)) == found


async def test_the_service_sets_reports_and_tells(stub: Stub) -> None:
    for version in (1, 2):
        await publish(stub, str(version).encode(), version=version)
        await register(stub, f"w{version}", version)
    shadow = traffic_pb2.TrafficShadow(version=2, share=0.5)
    answer = await ask(stub.SetShadow(traffic_pb2.SetShadowRequest(name="digits", shadow=shadow)))
    assert answer.traffic.shadow.tolerance == pytest.approx(0.001)
    request = traffic_pb2.StartCanaryRequest(name="digits", version=2, expected_revision=0)
    with pytest.raises(errors.Conflict):
        await ask(stub.StartCanary(request))
    request.expected_revision = 1
    answer = await ask(stub.StartCanary(request))
    assert list(answer.traffic.canary.policy.steps) == [1, 5, 25, 50, 100]
    assert answer.traffic.canary.policy.min_step_time.seconds == 10
    arms = [traffic_pb2.ArmFigures(version=1, requests=3, failures=9)]
    reports = [traffic_pb2.TrafficReport(name="digits", alias="stable", revision=2, arms=arms)]
    await ask(stub.ReportTraffic(traffic_pb2.ReportTrafficRequest(gateway="g", sequence=1, reports=reports)))
    (found,) = (await ask(stub.GetTraffic(traffic_pb2.GetTrafficRequest(name="digits")))).traffic
    assert (found.evidence.arms[0].requests, found.evidence.arms[0].failures) == (3, 3)
    answer = await ask(stub.StopCanary(traffic_pb2.StopCanaryRequest(name="digits")))
    assert answer.traffic.canary.state == traffic_pb2.CANARY_STATE_STOPPED
    split = traffic_pb2.TrafficSplit(parts=[traffic_pb2.SplitPart(version=2, weight=1)], sticky_key="x-user-id")
    answer = await ask(stub.SetSplit(traffic_pb2.SetSplitRequest(name="digits", split=split)))
    assert answer.traffic.split.sticky_key == "x-user-id"
    answer = await ask(stub.SetSplit(traffic_pb2.SetSplitRequest(name="digits")))
    assert not answer.traffic.HasField("split")
    with pytest.raises(errors.ModelNotFound):
        await ask(stub.GetTraffic(traffic_pb2.GetTrafficRequest(name="nothere")))
