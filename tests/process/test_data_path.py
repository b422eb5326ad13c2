"""The data path through real processes: each question gets its own right answer, once, whatever carries it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import penstock
from penstock.testing import Server, running

from .questions import CARRIERS, Ask, Ledger, ask_all, carriers, mixture, publish

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


@pytest.fixture(
    scope="module", params=[("auto", 1), ("auto", 2), ("grpc", 2)], ids=lambda param: f"{param[0]}-{param[1]}"
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with both models: for each carrier, and with one worker or two."""
    carrier, instances = request.param
    folder = tmp_path_factory.mktemp(carrier)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_CARRIER", carrier)
        with running(folder / "data") as server:
            publish(server, folder, instances)
            assert carriers(server) == {CARRIERS[carrier]}
            yield server


@pytest.mark.parametrize("carrier", ["unix", "grpc"])
def test_status_shows_the_carrier_that_was_demanded(tmp_path: Path, carrier: str) -> None:
    with running(tmp_path / "data", "--carrier", carrier) as server:
        publish(server, tmp_path)
        assert carriers(server) == {CARRIERS[carrier]}


async def test_everything_at_once_is_answered_exactly_once_and_rightly(served: Server) -> None:
    asked = [mixture(seed, 300, 6) for seed in range(4)]
    ledger = Ledger()
    async with (
        penstock.AsyncClient(served.grpc) as plain,
        penstock.AsyncClient(served.grpc, coalesce=True) as coalescing,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(ask_all(plain, asked[0], ledger))
        group.create_task(ask_all(coalescing, asked[1], ledger))
        group.create_task(_ask_many(plain, asked[2], ledger))
        group.create_task(asyncio.to_thread(_ask_from_a_thread, served.grpc, asked[3], ledger))
    ledger.check(ask for some in asked for ask in some)
    assert ledger.outcomes["cancelled"]


async def _ask_many(client: penstock.AsyncClient, asked: Sequence[Ask], ledger: Ledger) -> None:
    """A stream for each model; a question that is to be cancelled is an ordinary one here."""
    for model in ("affine", "spread"):
        some = [ask for ask in asked if ask.model == model]
        answers = client.predict_many(model, ({"x": ask.x} for ask in some), timeout=60, return_exceptions=True)
        for ask in some:
            ledger.note(ask, await anext(answers))
        assert await anext(answers, None) is None


def _ask_from_a_thread(address: str, asked: Sequence[Ask], ledger: Ledger) -> None:
    """The blocking client: every other question alone, the rest by a stream."""
    with penstock.Client(address) as client:
        for ask in asked[::2]:
            try:
                ledger.answered(ask, client.predict(ask.model, {"x": ask.x}, timeout=ask.timeout))
            except penstock.errors.PenstockError as error:
                ledger.failed(ask, error)
        for model in ("affine", "spread"):
            some = [ask for ask in asked[1::2] if ask.model == model]
            answers = client.predict_many(model, [{"x": ask.x} for ask in some], timeout=60, return_exceptions=True)
            for ask, outcome in zip(some, answers, strict=True):
                ledger.note(ask, outcome)


@pytest.mark.parametrize("coalesce", [False, True])
async def test_more_great_requests_and_answers_than_shared_memory_holds_are_all_answered(
    served: Server, coalesce: bool
) -> None:
    asked = [ask for ask in mixture(5, 0, 20, cancels=False) if ask.width != 1] + [
        Ask(number, "spread", width=1) for number in range(58_000, 58_020)
    ]
    ledger = Ledger()
    async with penstock.AsyncClient(served.grpc, coalesce=coalesce) as client:
        await ask_all(client, asked, ledger, at_once=len(asked))
    ledger.check(asked)
    assert ledger.outcomes["right"] == len(asked)


async def test_callers_who_leave_in_crowds_leave_nothing_behind(served: Server) -> None:
    storm = [Ask(number, cancel=number % 7 / 1000, rows=1 + number % 3) for number in range(61_000, 61_600)]
    calm = [Ask(number) for number in range(62_000, 62_200)]
    ledger = Ledger()
    async with penstock.AsyncClient(served.grpc) as client:
        await ask_all(client, storm, ledger, at_once=200)
        answers = client.predict_many("affine", ({"x": ask.x} for ask in storm))
        await anext(answers)
        await answers.aclose()  # 63 on the way
        await ask_all(client, calm, ledger)
    ledger.check(storm + calm)
    assert ledger.outcomes["cancelled"]


async def test_a_request_that_raises_fails_alone(served: Server) -> None:
    good = [Ask(number) for number in range(71_000, 71_200)]
    bad = [Ask(-2, rows=rows) for rows in range(1, 9)]
    ledger, raised = Ledger(), Ledger()
    async with penstock.AsyncClient(served.grpc) as client, asyncio.TaskGroup() as group:
        group.create_task(ask_all(client, good, ledger, at_once=100))
        group.create_task(ask_all(client, bad, raised))
    ledger.check(good)
    assert [error.reason for error in raised.failures] == ["MODEL_ERROR"] * len(bad)
