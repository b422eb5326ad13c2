"""Aliases with a split, a shadow or a canary: which version is asked, what is counted; callers feel nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from penstock import errors
from penstock.gateway.admission import Admission, AdmissionLimits
from penstock.gateway.figures import ArmCounts, Difference, Figures, PairCounts
from penstock.gateway.proxy import Deadlines, Proxy
from penstock.gateway.shadows import MAX_IN_FLIGHT, MAX_WAITING
from penstock.gateway.wire import field, wrap
from penstock.v1 import predict_pb2, traffic_pb2
from penstock.v1 import registry_pb2 as pb

from .fakes import (
    AVAILABLE,
    LOADING,
    REQUEST,
    FakeComparer,
    FakeSubchannel,
    Farm,
    call,
    directory,
    endpoint,
    model,
    now,
)

BOOM = errors.ModelError("boom")


def rules(shadow: float = 0.0, shadow_version: int = 3, **weights: float) -> pb.ModelSettings:
    """Of `stable`: weights as v1=9, v2=1."""
    traffic = traffic_pb2.AliasTraffic(alias="stable", revision=7)
    for name, weight in weights.items():
        traffic.split.parts.add(version=int(name[1:]), weight=weight)
    if shadow:
        traffic.shadow.MergeFrom(
            traffic_pb2.TrafficShadow(version=shadow_version, share=shadow, tolerance=0.01, revision=6)
        )
    return pb.ModelSettings(traffic=[traffic])


class Scene:
    """A gateway with versions 1, 2 and 3 of `digits`, whose workers are `a`, `b` and `c`."""

    def __init__(
        self, settings: pb.ModelSettings, states: Any = (AVAILABLE,) * 3, policy: str = "round_robin", **more: Any
    ) -> None:
        known = model(states=states)
        known.settings.CopyFrom(settings)
        self.farm = Farm(policy, directory(known))
        self.figures = Figures()
        self.compares = FakeComparer(**more)
        self.admission = Admission(AdmissionLimits(max_requests=1000))
        self.proxy = Proxy(
            self.farm.directory,
            self.farm.balancer,
            self.admission,
            Deadlines(default=60),
            self.farm.traffic(self.compares, self.figures),
        )
        self.farm.balancer.update([endpoint(name, version=n) for n, name in enumerate("abc", 1)])
        for name in "abc":
            self[name].set_ready()

    def __getitem__(self, name: str) -> FakeSubchannel:
        return self.farm[name]

    async def ask(self, **headers: str) -> str:
        answer: bytes = await self.proxy.predict(REQUEST, call(None, **headers))
        return answer.decode()

    def arm(self, version: int) -> ArmCounts:
        return self.figures._arms["digits", "stable", 7, version]

    def pair(self, version: int = 1, shadow: int = 3) -> PairCounts:
        return self.figures._pairs["digits", "stable", 6, version, shadow]


async def test_requests_are_shared_out_and_a_key_stays_where_it_is() -> None:
    scene = Scene(rules(v1=50, v2=50))
    met = {await scene.ask() for _ in range(40)}
    assert met == {"a", "b"}
    for user in range(10):
        assert len({await scene.ask(x_penstock_split_key=f"user-{user}") for _ in range(5)}) == 1


async def test_what_the_access_log_says_is_the_version_that_was_met() -> None:
    scene = Scene(rules(v2=1))
    asked = call()
    await scene.proxy.predict(REQUEST, asked)
    assert asked.facts == {"model": "digits", "version": 2, "worker": "b", "attempts": 1}
    assert asked.trailers == [("x-penstock-worker", "w")]


@pytest.mark.parametrize("settings", [rules(v1=1), pb.ModelSettings()])
async def test_a_version_in_the_metadata_goes_before_alias_and_split(settings: pb.ModelSettings) -> None:
    assert await Scene(settings).ask(x_penstock_version="2") == "b"


@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5", "9" * 30, "²"])
async def test_what_is_no_version_is_refused(given: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="x-penstock-version is a version"):
        await Scene(rules(v1=1)).ask(x_penstock_version=given)


async def test_two_versions_at_once_are_refused_and_one_that_is_not_there_not_found() -> None:
    scene = Scene(rules(v1=1))
    request = wrap(1, wrap(1, b"digits") + b"\x10\x01")
    assert await scene.proxy.predict(request, call(x_penstock_version="1")) == b"a"
    with pytest.raises(errors.InvalidArgument, match="asks for version 1, and x-penstock-version for 2"):
        await scene.proxy.predict(request, call(x_penstock_version="2"))
    with pytest.raises(errors.VersionNotFound):
        await scene.ask(x_penstock_version="9")


async def test_a_version_that_loads_leaves_its_share_to_the_aliass_own() -> None:
    scene = Scene(rules(v2=1), states=(AVAILABLE, LOADING, AVAILABLE))
    assert {await scene.ask() for _ in range(10)} == {"a"}


async def test_each_request_is_counted_once_whatever_becomes_of_it() -> None:
    scene = Scene(rules(v1=1))
    scene["a"].plan = [0.5, BOOM, errors.InvalidInput("no"), 100.0, 0.0]
    await scene.ask()
    for kind in (errors.ModelError, errors.InvalidInput):
        with pytest.raises(kind):
            await scene.ask()
    leaving = asyncio.ensure_future(scene.ask())
    await asyncio.sleep(1)
    assert scene.arm(1).pending == 1
    leaving.cancel()
    await asyncio.wait([leaving])
    arm = scene.arm(1)
    assert (arm.requests, arm.failures, arm.refusals, arm.pending) == (3, 1, 1, 0)
    assert scene.admission.requests == 0


async def test_a_caller_who_waits_in_vain_until_the_end_counts_as_a_failure() -> None:
    scene = Scene(rules(v1=1))
    scene["a"].plan = [100.0]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(9.5):
            await scene.proxy.predict(REQUEST, call(10.0))
    assert (scene.arm(1).requests, scene.arm(1).failures, scene.arm(1).pending) == (1, 1, 0)


async def test_what_its_version_does_not_let_in_counts_and_what_the_gateway_has_no_room_for_does_not() -> None:
    scene = Scene(rules(v1=1))
    with pytest.raises(errors.DeadlineExceeded):
        await scene.proxy.predict(REQUEST, call(-1.0))
    assert (scene.arm(1).failures, scene.arm(1).pending) == (1, 0)
    for _ in range(1000):
        scene.admission.admit(1)
    with pytest.raises(errors.ConcurrencyLimit):
        await scene.ask()
    assert (scene.arm(1).requests, scene.arm(1).pending) == (1, 0)


async def test_a_retry_stays_with_its_version_and_counts_once() -> None:
    scene = Scene(rules(v1=1))
    second = endpoint("d", version=1)
    scene.farm.balancer.update([endpoint("a"), second])
    for name in "ad":
        scene[name].set_ready()
        scene[name].plan = [errors.WorkerDraining("draining")] if name == "a" else []
    asked = [await scene.ask() for _ in range(4)]
    assert set(asked) <= {"a", "d"}
    assert scene.arm(1).requests == 4


async def test_questions_of_a_stream_bring_their_own_keys() -> None:
    scene = Scene(rules(v1=50, v2=50))

    async def questions() -> AsyncIterator[bytes]:
        for number in range(40):
            question = predict_pb2.PredictStreamRequest(request_id=str(number), split_key=f"user-{number % 8}")
            yield question.SerializeToString() + wrap(3, REQUEST)

    met: dict[int, set[bytes]] = {}
    async with aclosing(scene.proxy.predict_stream(questions(), call())) as answers:
        async for message in answers:
            name, version = field(message, 1) or b"", field(message, 2) or b""
            met.setdefault(int(name) % 8, set()).add(version)
    assert all(len(versions) == 1 for versions in met.values())
    assert set().union(*met.values()) == {b"a", b"b"}


async def test_answers_of_a_generator_are_split_and_counted() -> None:
    scene = Scene(rules(v2=1))
    scene["b"].parts = 2
    assert [a async for a in scene.proxy.generate(REQUEST, call())] == [b"b/0", b"b/1"]
    scene["b"].plan = [BOOM]
    with pytest.raises(errors.ModelError):
        assert not [a async for a in scene.proxy.generate(REQUEST, call())]
    scene["b"].plan = [0.1, 1000.0]
    async with aclosing(scene.proxy.generate(REQUEST, call())) as answers:
        async for _ in answers:
            break
    arm = scene.arm(2)
    assert (arm.requests, arm.failures, arm.pending) == (2, 1, 0)


# Shadows


async def settle() -> None:
    await asyncio.sleep(1)


async def test_a_shadow_is_asked_after_the_caller_has_been_answered() -> None:
    scene = Scene(rules(shadow=1.0), difference=Difference(False, 1.0, 0.5, 0.1, 1, 1))
    scene["a"].plan, scene["c"].plan = [0.5], [0.25]
    assert await scene.ask() == "a"
    assert now() == pytest.approx(0.5)
    assert not scene["c"].asked
    await settle()
    (question,) = scene["c"].asked
    assert question.request == REQUEST
    pair = scene.pair()
    assert (pair.mirrored, pair.compared, pair.disagreed, pair.failed) == (1, 1, 1, 0)
    assert pair.slower_seconds == pytest.approx(-0.25)
    assert scene.arm(1).requests == 1


@pytest.mark.parametrize("trouble", [BOOM, errors.WorkerLost("lost"), 100.0, errors.QueueFull("full")])
async def test_whatever_becomes_of_a_shadow_callers_feel_nothing(trouble: Any) -> None:
    scene = Scene(rules(shadow=1.0))
    for _ in range(200):
        scene["c"].plan.append(trouble)
        before = now()
        assert await scene.ask() == "a"
        assert now() == before
    await settle()
    assert (scene.arm(1).requests, scene.arm(1).failures) == (200, 0)
    await asyncio.sleep(200)
    pair = scene.pair()
    assert pair.mirrored + pair.dropped == 200
    assert pair.compared + pair.same == 0


async def test_a_shadow_whose_workers_are_gone_costs_nobody_anything() -> None:
    scene = Scene(rules(shadow=1.0))
    scene.farm.balancer.update([endpoint("a")])
    scene["a"].set_ready()
    assert await scene.ask() == "a"
    await asyncio.sleep(30)
    assert scene.pair().mirrored + scene.pair().dropped == 1


async def test_what_is_held_for_a_shadow_is_bounded() -> None:
    scene = Scene(rules(shadow=1.0))
    scene["c"].plan = [1000.0] * 1000
    for _ in range(500):
        await scene.ask()
    await settle()
    assert len(scene["c"].asked) <= MAX_IN_FLIGHT
    assert scene.pair().dropped >= 500 - MAX_IN_FLIGHT


async def test_a_shadow_with_enough_to_do_gets_no_more() -> None:
    scene = Scene(rules(shadow=1.0), policy="late_binding")
    scene["c"].forecast.credit = 0
    for _ in range(40):
        await scene.ask()
    await settle()
    assert scene.farm.balancer.lane(("digits", 3)).waiting == MAX_WAITING
    assert scene.pair().dropped == 40 - MAX_WAITING


async def test_a_gateway_with_enough_to_do_mirrors_nothing() -> None:
    scene = Scene(rules(shadow=1.0))
    scene.farm.busy = True
    await scene.ask()
    await settle()
    assert not scene["c"].asked
    assert scene.pair().dropped == 1


async def test_an_event_loop_that_is_late_mirrors_later() -> None:
    scene = Scene(rules(shadow=1.0))
    await scene.ask()
    loop: Any = asyncio.get_running_loop()
    for _ in range(5):
        loop.jump(0.02)
        await asyncio.sleep(0)
        assert not scene["c"].asked
    await settle()
    assert len(scene["c"].asked) == 1


async def test_a_share_is_mirrored() -> None:
    scene = Scene(rules(shadow=0.25))
    for _ in range(400):
        await scene.ask()
        await asyncio.sleep(0.1)
    assert 60 < len(scene["c"].asked) < 140


async def test_what_the_shadows_version_has_answered_itself_is_not_mirrored() -> None:
    scene = Scene(rules(shadow=1.0, shadow_version=2, v1=50, v2=50))
    met = [await scene.ask() for _ in range(40)]
    await settle()
    assert len(scene["b"].asked) == 40
    assert set(met) == {"a", "b"}


async def test_equal_answers_are_not_opened() -> None:
    scene = Scene(rules(shadow=1.0))
    scene["c"].endpoint = scene["a"].endpoint
    await scene.ask()
    await settle()
    assert (scene.pair().same, scene.compares.pairs) == (1, [])


async def test_pairs_for_which_there_is_no_room_are_counted_as_such() -> None:
    scene = Scene(rules(shadow=1.0), room=False)
    await scene.ask()
    await settle()
    assert (scene.pair().uncompared, scene.pair().compared) == (1, 0)


async def test_failed_requests_are_not_mirrored() -> None:
    scene = Scene(rules(shadow=1.0))
    scene["a"].plan = [BOOM]
    with pytest.raises(errors.ModelError):
        await scene.ask()
    await settle()
    assert not scene["c"].asked
