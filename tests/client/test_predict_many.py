from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from penstock import AsyncClient, errors

X = np.ones(2, np.float32)


async def gather(answers: Any) -> list[Any]:
    return [answer async for answer in answers]


@pytest.mark.parametrize("hold", [1, 4, 5])
@pytest.mark.parametrize("in_flight", [5, 64])
async def test_answers_come_in_the_order_of_the_inputs(client: Any, served: Any, hold: int, in_flight: int) -> None:
    served.echo.hold = hold
    inputs = ({"n": np.array([n])} for n in range(20))
    found = await gather(client.predict_many("echo", inputs, in_flight=in_flight))
    assert [int(p["n"][0]) for p in found] == list(range(20))
    assert len({p.request_id for p in found}) == 20
    assert len({call.request_id for call in served.echo.calls}) == 1


async def test_many_questions_and_answers_travel_in_one_message(client: Any, served: Any) -> None:
    served.echo.coalesces = True
    inputs = ({"n": np.array([n])} for n in range(1000))
    found = await gather(client.predict_many("echo", inputs, in_flight=500))
    assert [int(p["n"][0]) for p in found] == list(range(1000))
    assert sum(served.echo.messages) == 1000
    assert max(served.echo.messages) > 1


async def test_large_questions_are_not_held_together(client: Any, served: Any) -> None:
    large = np.zeros(200_000, np.uint8)
    assert len(await gather(client.predict_many("echo", [large] * 5))) == 5
    assert served.echo.messages == [1] * 5


async def test_the_id_of_each_begins_with_that_of_the_stream(client: Any, served: Any) -> None:
    found = await gather(client.predict_many("echo", [X, X]))
    assert [p.request_id for p in found] == [f"{served.echo.calls[0].request_id}-{n}" for n in (1, 2)]


async def test_no_inputs_no_call(client: Any, served: Any) -> None:
    assert await gather(client.predict_many("echo", [])) == []
    assert served.echo.asked == 0


async def test_inputs_are_read_no_further_ahead_than_allowed(client: Any, served: Any) -> None:
    read = 0

    def inputs() -> Iterator[Any]:
        nonlocal read
        for read in range(1, 101):  # noqa: B007
            yield X

    answered = 0
    async for _ in client.predict_many("echo", inputs(), in_flight=8):
        answered += 1
        assert read - answered <= 8
    assert answered == 100


async def test_an_error_is_raised_at_its_place(client: Any) -> None:
    answers = client.predict_many("echo", [X, {"bad": X}, X])
    assert (await anext(answers)).version == 3
    with pytest.raises(errors.InvalidTensor, match="no input is called") as caught:
        await anext(answers)
    assert caught.value.request_id


async def test_errors_can_stand_in_the_place_of_answers(client: Any) -> None:
    inputs = [X, {"bad": X}, X, [1, "a"], X]
    found = await gather(client.predict_many("echo", inputs, return_exceptions=True))
    assert [isinstance(answer, errors.InvalidTensor) for answer in found] == [False, True, False, True, False]


async def test_a_broken_stream_fails_what_was_in_flight_and_the_rest_goes_on(client: Any) -> None:
    inputs = [X, {"gone": X}, X]
    found = await gather(client.predict_many("echo", inputs, in_flight=1, return_exceptions=True))
    assert isinstance(found[1], errors.WorkerDraining)
    assert [p.version for p in (found[0], found[2])] == [3, 3]
    assert found[1].__cause__ is not None


async def test_what_was_on_a_broken_stream_is_asked_again(connect: Any) -> None:
    inputs = [{"n": np.array([0])}, {"gone": X, "n": np.array([1])}, {"n": np.array([2])}]
    found = await gather(connect(retries=2).predict_many("echo", inputs))
    assert [int(p["n"][0]) for p in found] == [0, 1, 2]


async def test_each_question_has_its_own_timeout(client: Any) -> None:
    inputs = [X, {"mute": X}, X]
    found = await gather(client.predict_many("echo", inputs, timeout=0.3, return_exceptions=True))
    assert [isinstance(answer, errors.DeadlineExceeded) for answer in found] == [False, True, False]


async def test_an_error_of_the_inputs_iterator_is_raised(client: Any) -> None:
    def inputs() -> Iterator[Any]:
        yield X
        raise LookupError("no more rows")

    with pytest.raises(LookupError, match="no more rows"):
        await gather(client.predict_many("echo", inputs()))


async def test_leaving_early_ends_the_stream(client: Any, served: Any) -> None:
    served.echo.hold = 2
    answers = client.predict_many("echo", (X for _ in range(1000)), in_flight=4)
    await anext(answers)
    await answers.aclose()
    assert served.echo.asked < 1000


async def test_in_flight_must_be_positive(client: Any) -> None:
    with pytest.raises(ValueError, match="in_flight"):
        client.predict_many("echo", [X], in_flight=0)


async def test_answers_come_while_an_async_source_waits(served: Any) -> None:
    first = asyncio.Event()

    async def inputs() -> AsyncIterator[Any]:
        yield X
        await first.wait()
        yield X

    async with AsyncClient(served.address) as client:
        count = 0
        async for _ in client.predict_many("echo", inputs()):
            count += 1
            first.set()
    assert count == 2


async def test_closing_the_client_ends_the_streams_of_it(served: Any) -> None:
    client = AsyncClient(served.address)
    answers = client.predict_many("echo", [{"mute": X}])
    waiting = asyncio.ensure_future(anext(answers))
    while not served.echo.asked:
        await asyncio.to_thread(int)
    await client.close()
    with pytest.raises(errors.Cancelled):
        await waiting
