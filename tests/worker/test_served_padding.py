from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock import errors
from penstock.testing.simulated import SOURCE
from penstock.v1 import model_pb2

from .fake_registry import FakeRegistry
from .served import floats, ready, running

TEXT = b"""
from penstock import Servable, TensorSpec
from penstock.servable import Padding

class Scale(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", "length"]), "mask": TensorSpec("FP32", ["batch", "length"])}
    outputs = {"y": TensorSpec("FP32", ["batch", "length"]), "mean": TensorSpec("FP32", ["batch"])}
    padding = Padding(value=-5, masks={"x": "mask"})

    def predict(self, x, mask):
        return {"y": x * 2, "mean": (x * mask).sum(1) / mask.sum(1)}
"""
PUBLISHED = model_pb2.Padding(value=3, masks={"x": "mask"}, buckets=[4], max_pad_fraction=0.5)


async def test_requests_of_different_lengths_get_their_own_answers_and_the_mask_is_not_asked_for(
    tmp_path: Path,
) -> None:
    async with ready(tmp_path, TEXT) as worker:
        [registered] = worker.registry.registered
        assert [spec.name for spec in registered.signature.inputs] == ["x"]
        asked = [[float(number + 1) for number in range(length)] for length in (3, 1, 7)]
        answers = await asyncio.gather(*(worker.predict(floats(*x, shape=(1, len(x)))) for x in asked))
        assert [list(answer.outputs[0].floats) for answer in answers] == [[2 * v for v in x] for x in asked]
        assert [list(answer.outputs[1].floats) for answer in answers] == [[2.0], [1.0], [4.0]]
        with pytest.raises(errors.InvalidTensor, match="unknown input 'mask'"):
            await worker.predict(floats(1, shape=(1, 1)), floats(1, name="mask", shape=(1, 1)))


async def test_what_a_publisher_says_about_padding_goes_before_what_the_servable_says(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.publish(
        "scale.py", TEXT.replace(b"(x * mask).sum(1) / mask.sum(1)", b"x.max(1).values * 100 + x.shape[1]")
    )
    registry.manifest.batching.padding.CopyFrom(PUBLISHED)
    async with running(tmp_path, registry) as worker:
        await registry.until(lambda: bool(registry.renewals))
        answer = await worker.predict(floats(1, 2, shape=(1, 2)))
        assert list(answer.outputs[0].floats) == [2, 4]
        assert list(answer.outputs[1].floats) == [304]  # filled up with 3 to a length of 4


async def test_a_simulated_device_can_be_published(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.manifest.entry = "simulated.py:Simulated"
    registry.publish("simulated.py", SOURCE.encode())
    registry.publish("simulated.json", b'{"a": 0.0, "b": 0.0}')
    async with running(tmp_path, registry) as worker:
        await registry.until(lambda: bool(registry.renewals))
        answer = await worker.predict(floats(*range(16), shape=(1, 16)))
        assert list(answer.outputs[0].floats) == list(range(16))
