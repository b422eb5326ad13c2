"""A worker that was asked to optimize: what it tells the registry, and what it serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penstock.rpc.messages import optimized_from_message
from penstock.v1 import model_pb2, tensor_pb2
from penstock.worker.compiled.cache import FOLDER

from ..digits import Compiled, answers, scans
from .fake_registry import FakeRegistry
from .served import SCALE, Worker, floats, running

pytestmark = pytest.mark.timeout(600)
IMAGES = scans()[0]


def published(compiled: Compiled, optimization: model_pb2.Optimization.ValueType) -> FakeRegistry:
    registry = FakeRegistry()
    registry.publish("digits.pt2", compiled.program.read_bytes())
    registry.manifest.format, registry.manifest.entry = "torch_export", "digits.pt2"
    registry.manifest.optimization = optimization
    return registry


async def is_right(worker: Worker, compiled: Compiled, rows: int) -> bool:
    tensor = tensor_pb2.Tensor(name="image", shape=(rows, 8, 8), raw=IMAGES[:rows].tobytes())
    [scores] = (await worker.predict(tensor)).outputs
    expected = answers(compiled.model, IMAGES[:rows])["scores"]
    return np.allclose(np.frombuffer(scores.raw, np.float32).reshape(rows, 10), expected, rtol=1e-4, atol=1e-5)


async def test_what_was_compiled_is_served_and_its_figures_are_told(compiled_digits: Compiled, tmp_path: Path) -> None:
    compiled_digits.copy_cache(tmp_path / "cache" / FOLDER)
    registry = published(compiled_digits, model_pb2.OPTIMIZATION_AOT)
    async with running(tmp_path, registry) as worker:
        await registry.until(lambda: bool(registry.renewals))
        found = optimized_from_message(registry.registered[0].worker.optimized)
        assert (found.chosen, [one.name for one in found.candidates]) == ("aot", ["plain", "aot"])
        assert all(list(one.seconds) == [1, 8, 32] and not one.problem for one in found.candidates)
        assert [await is_right(worker, compiled_digits, rows) for rows in (1, 3, 40)] == [True, True, True]
    assert "optimizing" in {report.worker.stage for report in registry.reports}


async def test_without_a_compiler_the_model_is_served_as_published_and_that_is_told(
    compiled_digits: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    registry = published(compiled_digits, model_pb2.OPTIMIZATION_AOT)
    async with running(tmp_path, registry) as worker:
        await registry.until(lambda: bool(registry.renewals))
        found = optimized_from_message(registry.registered[0].worker.optimized)
        assert found.chosen == "plain"
        assert found.candidates[1].problem.startswith("NoCompiler: there is no working C++ compiler on this host")
        assert await is_right(worker, compiled_digits, 3)


async def test_a_class_is_served_as_it_is(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.publish("scale.py", SCALE)
    registry.manifest.optimization = model_pb2.OPTIMIZATION_AUTO
    async with running(tmp_path, registry) as worker:
        await registry.until(lambda: bool(registry.renewals))
        found = optimized_from_message(registry.registered[0].worker.optimized)
        assert (found.chosen, len(found.candidates)) == ("plain", 1)
        assert list((await worker.predict(floats(1, 2))).outputs[0].floats) == [2, 4]


@pytest.mark.parametrize("optimization", [0, 1, 99])
async def test_who_was_not_asked_to_optimize_or_does_not_know_how_tells_nothing(
    tmp_path: Path, optimization: int
) -> None:
    registry = FakeRegistry()
    registry.publish("scale.py", SCALE)
    registry.manifest.optimization = optimization  # type: ignore[assignment]
    async with running(tmp_path, registry):
        await registry.until(lambda: bool(registry.renewals))
    assert not registry.registered[0].worker.HasField("optimized")
    assert "optimizing" not in {report.worker.stage for report in registry.reports}
