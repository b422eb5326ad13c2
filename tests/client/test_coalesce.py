from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import torch

from penstock import AsyncClient, errors
from penstock.client.unsent import MAX_BYTES

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(params=[False, True], ids=["one answer each", "answers together"])
async def client(request: pytest.FixtureRequest, served: Any) -> AsyncIterator[AsyncClient]:
    served.echo.coalesces = request.param
    async with AsyncClient(served.address, coalesce=True, retries=0) as made:
        yield made


async def asked(served: Any, count: int) -> None:
    """Wait until the server has so many questions."""
    while served.echo.asked < count:
        await asyncio.to_thread(int)


async def test_questions_asked_together_leave_together(client: Any, served: Any) -> None:
    found = await asyncio.gather(*(client.predict("echo", {"n": np.array([n])}) for n in range(300)))
    assert [int(p["n"][0]) for p in found] == list(range(300))
    assert served.echo.messages == [256, 44]
    assert len({call.request_id for call in served.echo.calls}) == 1


async def test_later_questions_use_the_same_stream(client: Any, served: Any) -> None:
    found = [await client.predict("echo", {"x": X}) for _ in range(3)]
    assert all(np.array_equal(p["x"], X) for p in found)
    assert served.echo.messages == [1, 1, 1]
    stream_id = served.echo.calls[0].request_id
    assert [p.request_id for p in found] == [f"{stream_id}-{n}" for n in (1, 2, 3)]


async def test_models_versions_and_kinds_of_arrays_share_the_stream(client: Any, served: Any) -> None:
    one, two, three = await asyncio.gather(
        client.predict("a", {"x": X}, version=7),
        client.predict("b", {"x": torch.ones(2), "s": ["t"]}, alias="canary"),
        client.predict("c", {"x": X, "y": X}, outputs=["y"]),
    )
    assert [p.model for p in (one, two, three)] == ["a", "b", "c"]
    assert torch.equal(two["x"], torch.ones(2))
    assert list(three) == ["y"]
    assert [request.model_spec.version for request in served.echo.requests] == [7, 0, 0]
    assert served.echo.messages == [3]


async def test_one_bad_question_fails_alone(client: Any) -> None:
    questions = (client.predict("echo", inputs) for inputs in ({"x": X}, {"bad": X}, {"x": X}))
    found: list[Any] = await asyncio.gather(*questions, return_exceptions=True)
    good, bad, also_good = found
    assert isinstance(bad, errors.InvalidTensor)
    assert bad.request_id
    assert (good.version, also_good.version) == (3, 3)


async def test_each_question_carries_its_own_timeout(client: Any, served: Any) -> None:
    questions = (client.predict("echo", {name: X}, timeout=time) for name, time in (("mute", 0.3), ("x", 20)))
    found: list[Any] = await asyncio.gather(*questions, return_exceptions=True)
    late, good = found
    assert isinstance(late, errors.DeadlineExceeded)
    assert late.request_id == f"{served.echo.calls[0].request_id}-1"
    assert good.version == 3
    short, long = served.echo.timeouts
    assert 0 < short <= 0.3 < long <= 20


async def test_without_a_timeout_none_is_sent(served: Any) -> None:
    async with AsyncClient(served.address, coalesce=True, timeout=None) as client:
        await client.predict("echo", X)
    assert served.echo.timeouts == [0.0]


async def test_a_cancelled_question_leaves_the_others_alone(client: Any, served: Any) -> None:
    mute = asyncio.ensure_future(client.predict("echo", {"mute": X}))
    await asked(served, 1)
    mute.cancel()
    assert (await client.predict("echo", X)).version == 3
    assert mute.cancelled()


@pytest.mark.parametrize(("how", "error"), [("gone", errors.WorkerDraining), ("end", errors.Unavailable)])
async def test_a_broken_stream_fails_what_was_on_it_and_is_replaced(
    client: Any, served: Any, how: str, error: type[Exception]
) -> None:
    questions = (client.predict("echo", {name: X}) for name in ("mute", how))
    found = await asyncio.gather(*questions, return_exceptions=True)
    assert [type(one) for one in found] == [error] * 2
    assert (await client.predict("echo", X)).version == 3
    assert served.echo.messages == [2, 1]


async def test_what_was_on_a_broken_stream_is_asked_again_if_allowed(served: Any) -> None:
    served.echo.breaks, served.echo.hold = 1, 2
    async with AsyncClient(served.address, coalesce=True, retries=1) as client:
        found = await asyncio.gather(*(client.predict("echo", {name: X}) for name in ("x", "gone")))
    assert [p.version for p in found] == [3, 3]


async def test_an_unavailable_answer_is_asked_again_on_the_stream(served: Any) -> None:
    async with AsyncClient(served.address, coalesce=True, retries=1) as client:
        served.echo.refuse = [errors.NoLiveWorker("none", retry_after=0.0)]
        assert (await client.predict("echo", X)).version == 3
        served.echo.refuse = [errors.ModelError("the model raised")]
        with pytest.raises(errors.ModelError):
            await client.predict("echo", X)
    assert served.echo.messages == [1, 1, 1]


async def test_nobody_at_the_address_is_unavailable() -> None:
    async with AsyncClient("127.0.0.1:1", coalesce=True) as client:
        for _ in range(2):
            with pytest.raises(errors.Unavailable):
                await client.predict("echo", X)


async def test_each_priority_has_a_stream(client: Any, served: Any) -> None:
    priorities = ("high", "normal", "low", "high")
    await asyncio.gather(*(client.predict("echo", X, priority=priority) for priority in priorities))
    assert sorted(served.echo.messages) == [1, 1, 2]
    assert {call.text("x-penstock-priority") for call in served.echo.calls} == {"high", "", "low"}
    with pytest.raises(ValueError, match="priority is one of"):
        await client.predict("echo", X, priority="urgent")


async def test_what_a_stream_cannot_say_or_not_cheaper_is_a_call_of_its_own(client: Any, served: Any) -> None:
    assert (await client.predict("echo", X, request_id="mine")).request_id == "mine"
    assert (await client.predict("echo", X, timings=True)).timings.batch_size == 8
    assert (await client.predict("echo", np.zeros(MAX_BYTES, np.uint8))).version == 3
    assert not served.echo.messages


async def test_closing_the_client_cancels_what_waits(served: Any) -> None:
    client = AsyncClient(served.address, coalesce=True)
    waiting = asyncio.ensure_future(client.predict("echo", {"mute": X}))
    await asked(served, 1)
    await client.close()
    with pytest.raises(errors.Cancelled):
        await waiting


async def test_key_and_metadata_go_with_the_stream(served: Any) -> None:
    async with AsyncClient(served.address, coalesce=True, api_key="psk_1", metadata=[("x-team", "a")]) as client:
        await client.predict("echo", X)
    (call,) = served.echo.calls
    assert (call.text("authorization"), call.text("x-team")) == ("Bearer psk_1", "a")
