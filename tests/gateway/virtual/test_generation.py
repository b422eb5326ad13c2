"""Generate, asked of the proxy that serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from penstock import errors
from penstock.gateway.admission import Admission, AdmissionLimits
from penstock.gateway.proxy import Deadlines, Proxy

from .fakes import REQUEST, Farm, call

LOST = errors.WorkerLost("lost")
DRAINING = errors.WorkerDraining("draining")


def proxy(farm: Farm, limits: AdmissionLimits | None = None) -> Proxy:
    return Proxy(
        farm.directory, farm.balancer, Admission(limits or AdmissionLimits()), Deadlines(default=60), farm.traffic()
    )


async def generated(answers: AsyncIterator[bytes]) -> list[bytes]:
    return [answer async for answer in answers]


async def test_a_generator_answers_many_times() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    worker.parts = 3
    assert await generated(proxy(farm).generate(REQUEST, call())) == [b"a/0", b"a/1", b"a/2"]


@pytest.mark.parametrize("error", [LOST, DRAINING])
async def test_a_generator_is_tried_again_before_its_first_answer(error: errors.PenstockError) -> None:
    farm = Farm()
    workers = farm.start("a", "b")
    farm.next_of_two().plan = [error]
    assert len(await generated(proxy(farm).generate(REQUEST, call()))) == 1
    assert sum(len(worker.generated) for worker in workers) == 2


@pytest.mark.parametrize("error", [LOST, DRAINING])  # a worker that stops cancels what goes on for too long
async def test_a_worker_lost_after_the_first_answer_breaks_the_stream(error: errors.PenstockError) -> None:
    farm = Farm()
    workers = farm.start("a", "b")
    for worker in workers:
        worker.parts, worker.plan = 3, [0.0, error]
    with pytest.raises(errors.StreamBroken):
        await generated(proxy(farm).generate(REQUEST, call()))
    assert sum(len(worker.generated) for worker in workers) == 1


async def test_leaving_a_generator_cancels_the_workers_at_once() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    worker.parts = 100
    serving = proxy(farm, limits=AdmissionLimits(max_requests=1))
    async with aclosing(serving.generate(REQUEST, call())) as answers:
        await anext(answers)
    assert worker.cancelled == 1
    assert await serving.predict(REQUEST, call()) == b"a"


async def test_a_generator_is_told_the_known_headers_only() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    inner = {"x_penstock_epoch": "9", "x_penstock_principal": "root", "grpc_previous_rpc_attempts": "3"}
    asked = call(None, traceparent="00-x", x_penstock_timings="on", authorization="Bearer x", **inner)
    await generated(proxy(farm).generate(REQUEST, asked))
    sent = {"x-request-id": asked.request_id, "traceparent": "00-x", "x-penstock-timings": "on"}
    assert dict(worker.generated[0][2]) == sent
