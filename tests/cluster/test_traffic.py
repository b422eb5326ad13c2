"""Splits and shadows through whole gateways: what callers meet, and what the registry is told."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from penstock.histogram import Histogram
from penstock.signature import DType
from penstock.tensors import encode
from penstock.v1 import model_pb2, predict_pb2, traffic_pb2

from .conftest import SERVING, FakeWorker, Gateway, World, model, request


async def served(world: World, **traffic: Any) -> tuple[FakeWorker, FakeWorker]:
    """Two versions of `digits`, each with a worker, and traffic rules for `stable`."""
    known = model()
    known.versions.add().CopyFrom(known.versions[0])
    known.versions[1].manifest.version = 2
    known.settings.traffic.add(alias="stable", revision=5, **traffic)
    world.registry.publish(models=[known])
    workers = await world.worker(), await world.worker(worker_id="w2")
    record = workers[1].record()
    record.version = 2
    world.registry.publish(workers=[record])
    return workers


def answering(version: int, factor: float = 1.0) -> Any:
    async def behave(_request: bytes, _context: Any) -> bytes:
        values = encode("y", np.array([[1.0, 2.0, 4.0]], np.float32) * np.float32(factor), DType.FP32)
        spec = model_pb2.ModelSpec(name="digits", version=version)
        return predict_pb2.PredictResponse(model_spec=spec, outputs=[values]).SerializeToString()

    return behave


async def connected(world: World) -> Gateway:
    gateway = await world.gateway()
    await gateway.until(SERVING)
    return gateway


async def met(gateway: Gateway, **metadata: str) -> int:
    headers = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
    answer = predict_pb2.PredictResponse.FromString(await gateway.predict(metadata=headers))
    return answer.model_spec.version


async def reported(world: World, wanted: str) -> traffic_pb2.TrafficReport:
    """The next report that has such figures."""
    async with asyncio.timeout(20):
        while True:
            for report in (await world.registry.reports.get()).reports:
                if getattr(report, wanted):
                    return report


HALVES = traffic_pb2.TrafficSplit(
    parts=[traffic_pb2.SplitPart(version=1, weight=1), traffic_pb2.SplitPart(version=2, weight=1)],
    sticky_key="x-user-id",
)


async def test_all_gateways_give_a_user_the_same_version(world: World) -> None:
    one, other = await served(world, split=HALVES)
    one.behaviour, other.behaviour = answering(1), answering(2)
    gateways = [await connected(world) for _ in range(2)]
    by_user = [[await met(gateway, x_user_id=f"user-{n}") for n in range(20)] for gateway in gateways]
    assert by_user[0] == by_user[1]
    assert set(by_user[0]) == {1, 2}
    assert await met(gateways[0], x_user_id="user-1", x_penstock_version="1") == 1
    assert await met(gateways[0], x_user_id="user-1", x_penstock_version="2") == 2


async def test_what_was_counted_is_told_and_told_again_in_the_same_words_if_it_may_not_have_arrived(
    world: World,
) -> None:
    one, other = await served(world, split=HALVES)
    one.behaviour, other.behaviour = answering(1), answering(2)
    gateway = await connected(world)
    world.registry.deaf = True
    for _ in range(10):
        await met(gateway)
    first = await asyncio.wait_for(world.registry.reports.get(), 20)
    assert await asyncio.wait_for(world.registry.reports.get(), 20) == first
    (report,) = first.reports
    assert (report.name, report.alias, report.revision) == ("digits", "stable", 5)
    assert sum(arm.requests for arm in report.arms) == 10
    assert all(arm.pending == 0 and sum(arm.latency.counts) == arm.requests for arm in report.arms)


@pytest.mark.parametrize(("factor", "disagreed"), [(1.01, 3), (1.0001, 0)])
async def test_a_shadow_whose_numbers_are_off_is_reported(world: World, factor: float, disagreed: int) -> None:
    one, other = await served(
        world, shadow=traffic_pb2.TrafficShadow(version=2, share=1.0, tolerance=0.001, revision=4)
    )
    one.behaviour, other.behaviour = answering(1), answering(2, factor)
    gateway = await connected(world)
    for _ in range(3):
        assert await met(gateway) == 1
    compared = wrong = 0
    relative = Histogram()
    while compared < 3:
        (found,) = (await reported(world, "comparisons")).comparisons
        assert (found.version, found.shadow_version, found.failed) == (1, 2, 0)
        compared, wrong = compared + found.compared, wrong + found.disagreed
        relative = relative.plus(Histogram(dict(zip(found.relative.buckets, found.relative.counts, strict=True))))
    assert wrong == disagreed
    assert relative.quantile(0.5) == pytest.approx(factor - 1, rel=0.05)


async def test_a_shadow_that_is_dead_changes_nothing_for_callers(world: World) -> None:
    one, other = await served(
        world, shadow=traffic_pb2.TrafficShadow(version=2, share=1.0, tolerance=0.001, revision=4)
    )
    gateway = await connected(world)
    await other.stop()
    assert [await gateway.predict() for _ in range(5)] == [request()] * 5
    arm = (await reported(world, "arms")).arms[0]
    assert (arm.version, arm.failures) == (1, 0)
    assert one.seen
