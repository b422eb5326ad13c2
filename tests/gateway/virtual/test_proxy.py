from __future__ import annotations

import asyncio

import pytest

from penstock import errors
from penstock.gateway.admission import Admission, AdmissionLimits
from penstock.gateway.directory import Directory
from penstock.gateway.proxy import Deadlines, Proxy
from penstock.gateway.wire import wrap
from penstock.rpc.access import Principal

from .fakes import END, LOADING, REQUEST, Farm, call, directory, model, now

LOST = errors.WorkerLost("lost")
DRAINING = errors.WorkerDraining("draining")


def proxy(farm: Farm, limits: AdmissionLimits | None = None) -> Proxy:
    return Proxy(
        farm.directory, farm.balancer, Admission(limits or AdmissionLimits()), Deadlines(default=60), farm.traffic()
    )


async def test_a_request_goes_to_a_worker_and_its_answer_comes_back() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    asked = call(timeout=5)
    assert await proxy(farm).predict(REQUEST, asked) == b"a"
    (question,) = worker.asked
    assert question.request == REQUEST
    assert question.deadline == pytest.approx(5)
    assert asked.facts == {"model": "digits", "version": 1, "worker": "a", "attempts": 1}


async def test_the_workers_trailers_come_back() -> None:
    farm = Farm()
    farm.start("a")
    asked = call()
    await proxy(farm).predict(REQUEST, asked)
    assert asked.trailers == [("x-penstock-worker", "w")]


async def test_a_caller_without_deadline_gets_the_default() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    await proxy(farm).predict(REQUEST, call())
    assert worker.asked[0].deadline == 60


async def test_only_what_workers_need_is_taken_from_the_headers() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    asked = call(
        None, traceparent="00-x", x_penstock_timings="on", x_penstock_priority="high", authorization="Bearer x"
    )
    await proxy(farm).predict(REQUEST, asked)
    (question,) = worker.asked
    assert (question.request_id, question.traceparent, question.timings) == (asked.request_id, "00-x", True)
    assert question.priority == 1


@pytest.mark.parametrize("given", ["urgent", "HIGH", "1"])
async def test_a_priority_is_one_of_three(given: str) -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    with pytest.raises(errors.InvalidArgument, match="high, normal, low"):
        await proxy(farm).predict(REQUEST, call(x_penstock_priority=given))
    assert not worker.asked


@pytest.mark.parametrize("error", [LOST, DRAINING, errors.LeaseFenced("old"), errors.QueueFull("full")])
async def test_what_is_safe_is_tried_again_elsewhere(error: errors.PenstockError) -> None:
    farm = Farm()
    farm.start("a", "b")
    first = farm.next_of_two()
    first.plan = [error]
    asked = call()
    answer = await proxy(farm).predict(REQUEST, asked)
    assert answer.decode() == asked.facts["worker"] != first.endpoint.worker_id
    assert asked.facts["attempts"] == 2


async def test_a_request_that_loses_two_workers_is_not_given_a_third() -> None:
    farm = Farm()
    workers = farm.start("a", "b", "c")
    for worker in workers:
        worker.plan = [LOST]
    with pytest.raises(errors.WorkerLost) as failed:
        await proxy(farm).predict(REQUEST, call())
    assert sum(len(worker.asked) for worker in workers) == 2
    assert failed.value.metadata == {"model": "digits", "version": "1"}


async def test_three_draining_workers_are_enough() -> None:
    farm = Farm()
    workers = farm.start("a", "b", "c", "d")
    for worker in workers:
        worker.plan = [DRAINING]
    with pytest.raises(errors.WorkerDraining):
        await proxy(farm).predict(REQUEST, call())
    assert sorted(len(worker.asked) for worker in workers) == [0, 1, 1, 1]


async def test_a_models_own_error_is_not_tried_again() -> None:
    farm = Farm()
    workers = farm.start("a", "b")
    for worker in workers:
        worker.plan = [errors.ModelError("boom")]
    with pytest.raises(errors.ModelError):
        await proxy(farm).predict(REQUEST, call())
    assert sum(len(worker.asked) for worker in workers) == 1


async def test_a_full_queue_is_not_tried_again_where_there_is_no_other() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    worker.plan = [errors.QueueFull("full")]
    with pytest.raises(errors.QueueFull):
        await proxy(farm).predict(REQUEST, call())
    assert len(worker.asked) == 1


async def test_a_spent_budget_ends_the_retries() -> None:
    farm = Farm()
    workers = farm.start("a", "b", "c")
    serving = proxy(farm)
    for _ in range(100):
        for worker in workers:
            worker.plan = [LOST]
        with pytest.raises(errors.WorkerLost):
            await serving.predict(REQUEST, call())
    asked = sum(len(worker.asked) for worker in workers)
    assert asked == 100 + 30 + 10


@pytest.mark.parametrize(("timeout", "patience"), [(None, 1.0), (100.0, 1.0), (5.0, 1.0), (2.0, 0.4), (0.5, 0.1)])
async def test_without_a_worker_the_wait_is_a_second_or_a_fifth_of_the_time(
    timeout: float | None, patience: float
) -> None:
    with pytest.raises(errors.NoLiveWorker):
        await proxy(Farm()).predict(REQUEST, call(timeout))
    assert now() == pytest.approx(patience)


async def test_a_worker_that_comes_in_time_answers() -> None:
    farm = Farm()
    asyncio.get_running_loop().call_later(0.5, farm.start, "a")
    assert await proxy(farm).predict(REQUEST, call()) == b"a"
    assert now() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("state", "load_error", "error", "patience"),
    [
        (LOADING, "", errors.ModelLoading, 1.0),
        (LOADING, "boom", errors.ModelLoadFailed, 0.0),
        (END, "", errors.ModelNotDeployed, 0.0),
    ],
)
async def test_what_will_not_come_is_not_waited_for(
    state: int, load_error: str, error: type[errors.PenstockError], patience: float
) -> None:
    record = model(states=[state])
    record.versions[0].load_error = load_error
    with pytest.raises(error):
        await proxy(Farm(known=directory(record))).predict(REQUEST, call())
    assert now() == pytest.approx(patience)


async def test_a_deadline_that_has_passed_reaches_no_worker() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    with pytest.raises(errors.DeadlineExceeded):
        await proxy(farm).predict(REQUEST, call(timeout=-1))
    assert not worker.asked


async def test_a_retry_has_what_is_left_of_the_time() -> None:
    farm = Farm()
    farm.start("a", "b")
    farm.next_of_two().plan = [(2.0, DRAINING)]
    asked = call(timeout=5)
    await proxy(farm).predict(REQUEST, asked)
    (question,) = farm[str(asked.facts["worker"])].asked
    assert question.deadline - now() == pytest.approx(3)


async def test_the_right_to_a_model_is_checked_before_it_is_looked_up() -> None:
    farm = Farm()
    farm.start("a")
    texts = set()
    for name in ("digits", "nothere"):
        asked = call()
        asked.principal = Principal("ann", frozenset({"predict:other"}))
        with pytest.raises(errors.ScopeInsufficient) as refused:
            await proxy(farm).predict(wrap(1, wrap(1, name.encode())), asked)
        texts.add(refused.value.message.replace(name, "NAME"))
    assert len(texts) == 1


async def test_before_the_registry_was_reached_nothing_is_missing() -> None:
    with pytest.raises(errors.RegistryUnavailable):
        await proxy(Farm(known=Directory())).predict(REQUEST, call())


async def test_what_is_too_much_is_refused_and_its_place_given_back() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    worker.plan = [10.0]
    serving = proxy(farm, limits=AdmissionLimits(max_requests=1))
    first = asyncio.create_task(serving.predict(REQUEST, call()))
    await asyncio.sleep(1)
    with pytest.raises(errors.ConcurrencyLimit):
        await serving.predict(REQUEST, call())
    assert await first == b"a"
    assert await serving.predict(REQUEST, call()) == b"a"


async def test_a_cancelled_request_cancels_the_workers_and_gives_its_place_back() -> None:
    farm = Farm()
    (worker,) = farm.start("a")
    worker.plan = [1000.0]
    serving = proxy(farm, limits=AdmissionLimits(max_requests=1))
    first = asyncio.create_task(serving.predict(REQUEST, call()))
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (worker.cancelled, worker.in_flight) == (1, 0)
    assert await serving.predict(REQUEST, call()) == b"a"
