from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock import errors
from penstock.v1 import predict_pb2 as pb
from penstock.v1 import tensor_pb2

from .served import COUNT, Worker, floats, ready


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async with ready(tmp_path) as worker:
        yield worker


async def test_typed_floats_are_answered_with_typed_floats(worker: Worker) -> None:
    answer = await worker.predict(floats(1, 2, 3, 4, shape=(2, 2)))
    assert (answer.model_spec.name, answer.model_spec.version) == ("scale", 1)
    y, total = answer.outputs
    assert (y.name, list(y.shape), list(y.floats), y.raw) == ("y", [2, 2], [2, 4, 6, 8], b"")
    assert (total.name, list(total.shape), list(total.floats)) == ("total", [2], [3, 7])


async def test_raw_bytes_are_answered_with_raw_bytes(worker: Worker) -> None:
    x = tensor_pb2.Tensor(name="x", dtype=tensor_pb2.DATA_TYPE_FP32, shape=[1, 2], raw=struct.pack("<2f", 1.5, -0.0))
    y, total = (await worker.predict(x)).outputs
    assert struct.unpack("<2f", y.raw) == (3.0, -0.0)
    assert (list(total.shape), struct.unpack("<f", total.raw)) == ([1], (1.5,))


async def test_a_sole_tensor_needs_no_name(worker: Worker) -> None:
    assert list((await worker.predict(floats(1, 2, name=""))).outputs[0].floats) == [2, 4]


async def test_only_the_outputs_asked_for_are_sent_and_in_that_order(worker: Worker) -> None:
    for names in (["total"], ["total", "y"]):
        answer = await worker.predict(floats(1, 2), output_names=names)
        assert [tensor.name for tensor in answer.outputs] == names


async def test_an_unknown_output_is_refused(worker: Worker) -> None:
    with pytest.raises(errors.InvalidTensor, match="unknown output 'z'; the model gives 'y', 'total'") as caught:
        await worker.predict(floats(1, 2), output_names=["y", "z"])
    assert [violation.field for violation in caught.value.violations] == ["output_names[1]"]


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ([floats(1, 2, 3, shape=(1, 3))], "inputs[0].shape[1]"),
        ([floats(1, 2, shape=(2,))], "inputs[0].shape"),
        ([floats(shape=(0, 2))], "inputs[0].shape[0]"),
        ([floats(1, 2, dtype=tensor_pb2.DATA_TYPE_INT64)], "inputs[0].dtype"),
        ([], "inputs"),
        ([floats(1, 2), floats(1, 2, name="z")], "inputs[1].name"),
        ([floats(1, 2), floats(1, 2)], "inputs[1].name"),
        ([floats(1, 2, 3)], "inputs[0].floats"),
        ([tensor_pb2.Tensor(name="x", shape=[1, 2], raw=b"1234567")], "inputs[0].raw"),
        ([tensor_pb2.Tensor(name="x", shape=[1, 2], ints=[1, 2])], "inputs[0].ints"),
    ],
    ids=["shape", "rank", "empty", "dtype", "missing", "unknown", "twice", "too many", "bytes", "list"],
)
async def test_tensors_that_do_not_fit_are_refused_with_their_path(
    worker: Worker, inputs: list[tensor_pb2.Tensor], field: str
) -> None:
    with pytest.raises(errors.InvalidTensor) as caught:
        await worker.predict(*inputs)
    assert field in [violation.field for violation in caught.value.violations]
    assert "'x'" in caught.value.message or field in caught.value.message


async def test_every_mistake_is_named(worker: Worker) -> None:
    with pytest.raises(errors.InvalidTensor) as caught:
        await worker.predict(floats(1, name="z"), floats(1, 2, 3, shape=(1, 3)))
    assert [violation.field for violation in caught.value.violations] == ["inputs[0].name", "inputs[1].shape[1]"]


async def test_what_a_servable_refuses_reaches_its_caller(worker: Worker) -> None:
    with pytest.raises(errors.InvalidInput, match="negative"):
        await worker.predict(floats(-1, 2))


@pytest.mark.parametrize("epoch", ["", "0"])
async def test_an_epoch_need_not_be_named(worker: Worker, epoch: str) -> None:
    await worker.predict(floats(1, 2), epoch=epoch)


@pytest.mark.parametrize("wrong", [-1, 1])
async def test_a_request_for_another_epoch_is_fenced(worker: Worker, wrong: int) -> None:
    await worker.predict(floats(1, 2), epoch=worker.epoch)
    with pytest.raises(errors.LeaseFenced, match=f"this worker has {worker.epoch}"):
        await worker.predict(floats(1, 2), epoch=worker.epoch + wrong)


async def test_timings_are_sent_on_request_only(worker: Worker) -> None:
    await worker.predict(floats(1, 2))
    assert not any(key.startswith("x-penstock") for key in worker.trailers)
    await worker.predict(floats(1, 2), metadata=[("x-penstock-timings", "on")])
    told = worker.trailers
    assert (told["x-penstock-batch-size"], told["x-penstock-worker"]) == ("1", "w1")
    assert int(told["x-penstock-queue-us"]) >= 0
    assert int(told["x-penstock-compute-us"]) > 0


async def test_bytes_that_are_no_message_are_refused(worker: Worker) -> None:
    stub: Any = worker.stub
    assert stub is not None
    with pytest.raises(errors.InvalidTensor):
        await worker.predict(tensor_pb2.Tensor(name="x", shape=[-1, 2]))


async def test_a_model_with_one_answer_can_be_asked_to_generate(worker: Worker) -> None:
    [answer] = await worker.generate(floats(1, 2))
    assert list(answer.outputs[0].floats) == [2, 4]


async def test_a_generator_streams_and_is_not_asked_by_predict(tmp_path: Path) -> None:
    async with ready(tmp_path, COUNT) as worker:
        with pytest.raises(errors.ServableIsGenerator, match="call Generate"):
            await worker.predict(floats(1, 2))
        answers: list[pb.GenerateResponse] = await worker.generate(floats(1, 2))
        assert [list(answer.outputs[0].floats) for answer in answers] == [[1, 2], [2, 3], [3, 4]]
