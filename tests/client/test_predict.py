from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from penstock import AsyncClient, errors

X = np.arange(6, dtype=np.float32).reshape(2, 3)


async def test_an_array_goes_there_and_back(client: Any) -> None:
    out = await client.predict("echo", {"x": X})
    assert np.array_equal(out["x"], X)
    assert out["x"].dtype == np.float32
    assert (out.model, out.version, list(out), len(out)) == ("echo", 3, ["x"], 1)


async def test_a_sole_input_needs_no_name(client: Any, served: Any) -> None:
    await client.predict("echo", X)
    assert [t.name for t in served.echo.requests[0].inputs] == [""]


async def test_a_torch_tensor_is_answered_with_torch_tensors(client: Any) -> None:
    x = torch.arange(4, dtype=torch.bfloat16).reshape(2, 2)
    out = await client.predict("echo", {"x": x, "n": np.arange(3), "s": ["a"]})
    assert torch.equal(out["x"], x)
    assert torch.equal(out["n"], torch.arange(3))
    assert out["s"].tolist() == [b"a"]


@pytest.mark.parametrize("choice", [{"version": 7}, {"alias": "canary"}, {}])
async def test_version_and_alias_go_with_the_question(client: Any, served: Any, choice: dict[str, Any]) -> None:
    await client.predict("echo", X, **choice)
    spec = served.echo.requests[0].model_spec
    assert spec.WhichOneof("version_choice") == next(iter(choice), None)
    assert all(getattr(spec, key) == value for key, value in choice.items())


async def test_version_and_alias_together_are_refused_before_any_call(client: Any, served: Any) -> None:
    with pytest.raises(ValueError, match="not both"):
        await client.predict("echo", X, version=1, alias="stable")
    with pytest.raises(ValueError, match="not both"):
        client.generate("echo", X, version=1, alias="stable")
    with pytest.raises(ValueError, match="not both"):
        client.predict_many("echo", [X], version=1, alias="stable")
    assert not served.echo.requests


async def test_only_the_outputs_wanted_come(client: Any) -> None:
    out = await client.predict("echo", {"x": X, "y": X}, outputs=["y"])
    assert list(out) == ["y"]
    with pytest.raises(KeyError, match="no output 'x'; echo gave 'y'"):
        out["x"]


async def test_timings_come_when_asked_for(client: Any) -> None:
    assert (await client.predict("echo", X)).timings is None
    timings = (await client.predict("echo", X, timings=True)).timings
    assert (timings.queue_s, timings.compute_s, timings.batch_size, timings.worker) == (0.0015, 0.25, 8, "w1")


async def test_the_request_id_is_the_callers_or_the_servers(client: Any, served: Any) -> None:
    assert (await client.predict("echo", X, request_id="mine-1")).request_id == "mine-1"
    assert (await client.predict("echo", X)).request_id == served.echo.calls[1].request_id


async def test_key_and_metadata_go_with_every_call(connect: Any, served: Any) -> None:
    client = connect(api_key="psk_1", metadata=[("x-team", "a")])
    await client.predict("echo", X)
    [_ async for _ in client.generate("echo", X)]
    [_ async for _ in client.predict_many("echo", [X])]
    for call in served.echo.calls:
        assert (call.text("authorization"), call.text("x-team")) == ("Bearer psk_1", "a")
    assert len(served.echo.calls) == 3


async def test_address_and_key_come_from_the_environment(
    connect: Any, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_ADDRESS", served.address)
    monkeypatch.setenv("PENSTOCK_API_KEY", "psk_2")
    await connect(None).predict("echo", X)
    assert served.echo.calls[0].text("authorization") == "Bearer psk_2"


async def test_an_error_is_its_class_with_all_that_the_server_said(client: Any, served: Any) -> None:
    wrong = errors.Violation("inputs[0].shape", "expected 4, got 3")
    served.echo.fail = [errors.InvalidTensor("x does not fit", violations=[wrong], metadata={"model": "echo"})]
    with pytest.raises(errors.InvalidTensor, match="x does not fit") as caught:
        await client.predict("echo", X, request_id="r-1")
    error = caught.value
    assert (error.violations, error.metadata["model"], error.request_id) == ((wrong,), "echo", "r-1")
    assert error.__cause__ is not None


async def test_the_timeout_is_the_calls_deadline(connect: Any, served: Any) -> None:
    served.echo.deaf = True
    with pytest.raises(errors.DeadlineExceeded):
        await connect().predict("echo", X, timeout=0.05)
    with pytest.raises(errors.DeadlineExceeded):
        await connect(timeout=0.05).predict("echo", X)


async def test_without_a_timeout_there_is_no_deadline(connect: Any, served: Any) -> None:
    await connect(timeout=None).predict("echo", X)
    assert served.echo.calls[0].deadline == float("inf")


async def test_what_is_unavailable_is_asked_again_as_often_as_allowed(connect: Any, served: Any) -> None:
    served.echo.fail = [errors.WorkerLost("gone") for _ in range(2)]
    assert (await connect(retries=2).predict("echo", X)).version == 3
    served.echo.fail = [errors.WorkerLost(f"gone {n}") for n in range(3)]
    with pytest.raises(errors.WorkerLost, match="gone 1"):
        await connect(retries=1).predict("echo", X)


async def test_other_errors_are_not_asked_again(connect: Any, served: Any) -> None:
    served.echo.fail = [errors.ModelError("the model raised")]
    with pytest.raises(errors.ModelError):
        await connect(retries=5).predict("echo", X)
    assert len(served.echo.requests) == 1


async def test_with_credentials_the_connection_is_never_plain(connect: Any, served: Any) -> None:
    with pytest.raises(errors.Unavailable):
        await connect(credentials=grpc.ssl_channel_credentials()).predict("echo", X, timeout=10)
    assert not served.echo.calls


async def test_local_credentials_are_those_of_one_machine(connect: Any) -> None:
    assert (await connect(credentials=grpc.local_channel_credentials()).predict("echo", X)).version == 3


async def test_options_of_the_channel_stand_instead_of_ours(connect: Any) -> None:
    with pytest.raises(errors.ResourceExhausted):
        await connect(channel_options=[("grpc.max_send_message_length", 100)]).predict("echo", np.zeros(1000))


async def test_nobody_at_the_address_is_unavailable(connect: Any) -> None:
    with pytest.raises(errors.Unavailable) as caught:
        await connect("127.0.0.1:1").predict("echo", X)
    assert caught.value.reason == ""


async def test_a_generator_answers_many_times(client: Any, served: Any) -> None:
    served.echo.answers = 3
    found = [p async for p in client.generate("echo", {"x": X}, request_id="g-1")]
    assert [(p.version, p.request_id) for p in found] == [(3, "g-1")] * 3
    assert np.array_equal(found[2]["x"], X)


async def test_closing_the_iterator_cancels_the_generation(client: Any, served: Any) -> None:
    served.echo.deaf = True
    answers = client.generate("echo", X)
    await anext(answers)
    assert served.echo.open == 1
    await answers.aclose()
    served.echo.deaf = False
    while served.echo.open:
        await client.predict("echo", X)


async def test_a_generation_that_takes_too_long_ends_after_the_answers_that_came(client: Any, served: Any) -> None:
    served.echo.deaf = True
    answers = client.generate("echo", X, timeout=0.3)
    assert (await anext(answers)).version == 3
    with pytest.raises(errors.DeadlineExceeded):
        await anext(answers)


async def test_cancelling_who_waits_for_an_answer_cancels_the_generation(served: Any) -> None:
    served.echo.deaf = True
    async with AsyncClient(served.address) as client:
        answers = client.generate("echo", X)
        await anext(answers)
        waiting = asyncio.ensure_future(anext(answers))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        while served.echo.open:
            await asyncio.to_thread(int)


async def test_the_priority_goes_with_every_call(client: Any, served: Any) -> None:
    await client.predict("echo", X, priority="high")
    [_ async for _ in client.generate("echo", X, priority="low")]
    [_ async for _ in client.predict_many("echo", [X], priority="low")]
    await client.predict("echo", X)
    assert [call.text("x-penstock-priority") for call in served.echo.calls] == ["high", "low", "low", ""]


async def test_an_unknown_priority_is_refused_before_any_call(client: Any, served: Any) -> None:
    with pytest.raises(ValueError, match="priority is one of high, normal, low; got 'urgent'"):
        await client.predict("echo", X, priority="urgent")
    with pytest.raises(ValueError, match="priority is one of"):
        client.generate("echo", X, priority="urgent")
    with pytest.raises(ValueError, match="priority is one of"):
        client.predict_many("echo", [X], priority="urgent")
    assert not served.echo.calls


async def test_a_generation_is_tried_again_before_its_first_answer(connect: Any, served: Any) -> None:
    served.echo.fail = [errors.NoLiveWorker("none", retry_after=0.0)]
    assert len([p async for p in connect(retries=1).generate("echo", X)]) == 1


async def test_a_generation_is_not_tried_again_after_its_first_answer(connect: Any, served: Any) -> None:
    served.echo.broken = errors.WorkerLost("gone")
    answers = connect(retries=5).generate("echo", X)
    await anext(answers)
    with pytest.raises(errors.WorkerLost):
        await anext(answers)
    assert len(served.echo.requests) == 1


def test_a_negative_number_of_retries_is_refused(connect: Any) -> None:
    with pytest.raises(ValueError, match="negative"):
        connect(retries=-1)
