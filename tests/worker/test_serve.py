from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import errors
from penstock.rpc.lifecycle import EXIT_LOAD_FAILED, READY_FD
from penstock.v1 import model_pb2

from .fake_registry import FakeRegistry, left_in
from .served import SCALE, floats, ready, running

SLOW = b"""
import threading
from penstock import Servable, TensorSpec

begun, go = threading.Event(), threading.Event()

class Scale(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 2])}
    outputs = {"y": TensorSpec("FP32", ["batch", 2])}

    def predict(self, x):
        if x.any():
            begun.set()
            go.wait()
        return {"y": x * 2}
"""


async def test_a_worker_reports_each_stage_and_then_takes_a_lease(tmp_path: Path) -> None:
    async with ready(tmp_path) as worker:
        stages = [stage for stage, _ in groupby(report.worker.stage for report in worker.registry.reports)]
        assert stages == ["fetching", "loading", "warming up", "proving"]
        assert not any(report.error for report in worker.registry.reports)
        [registered] = worker.registry.registered
        record = registered.worker
        assert (record.worker_id, record.name, record.version) == ("w1", "scale", 1)
        assert (record.address, record.device) == (f"unix:{tmp_path}/worker.sock", "cpu")
        assert (record.state, record.max_batch_size) == (model_pb2.MODEL_STATE_AVAILABLE, 64)
        assert [spec.name for spec in registered.signature.outputs] == ["y", "total"]
        assert registered.signature.batch_dimension == "batch"


async def test_a_parent_learns_the_address_and_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readable, writable = os.pipe()
    monkeypatch.setenv(READY_FD, str(writable))
    async with ready(tmp_path) as worker:
        with os.fdopen(readable) as parent:
            facts = json.loads(await asyncio.to_thread(parent.readline))
        assert facts == {"ready": "worker", "address": f"unix:{tmp_path}/worker.sock", "epoch": worker.epoch}


async def test_renewals_carry_what_the_worker_did(tmp_path: Path) -> None:
    async with ready(tmp_path) as worker:
        await worker.predict(floats(1, 2, 3, 4, shape=(2, 2)))
        with pytest.raises(errors.InvalidInput):
            await worker.predict(floats(-1, 2))
        renewals = worker.registry.renewals
        await worker.registry.until(lambda: renewals[-1].report.failures == 1)
        assert (renewals[-1].report.rows, renewals[-1].report.batches) == (2, 2)
        assert renewals[-1].report.queued_rows == 0


async def test_a_fenced_worker_goes_on_answering_and_registers_with_a_greater_epoch(tmp_path: Path) -> None:
    async with ready(tmp_path) as worker:
        first, worker.registry.fenced = worker.epoch, True
        await worker.predict(floats(1, 2), epoch=first)
        await worker.registry.until(lambda: len(worker.registry.registered) == 2)
        await worker.registry.until(lambda: worker.registry.renewals[-1].epoch == first + 1)
        await worker.predict(floats(1, 2), epoch=first)  # gateways may hear late of the new lease
        await worker.predict(floats(1, 2), epoch=first + 1)
        with pytest.raises(errors.LeaseFenced):
            await worker.predict(floats(1, 2), epoch=first + 2)


async def test_a_drain_asked_for_by_the_registry_ends_the_worker_well(tmp_path: Path) -> None:
    async with ready(tmp_path) as worker:
        worker.registry.drain = True
        assert await worker.ended() == 0
        assert worker.registry.renewals[-1].draining
        assert worker.registry.revoked == ["w1"]


async def test_what_waits_when_a_drain_begins_is_answered(tmp_path: Path) -> None:
    async with ready(tmp_path, SLOW) as worker:
        asked = [asyncio.create_task(worker.predict(floats(n, n))) for n in range(1, 4)]
        await asyncio.to_thread(sys.modules["scale"].begun.wait, 20)
        worker.stop.request()
        await worker.registry.until(lambda: worker.registry.renewals[-1].draining)
        sys.modules["scale"].go.set()
        answers = await asyncio.gather(*asked)
        assert [answer.outputs[0].floats[0] for answer in answers] == [2, 4, 6]
        assert await worker.ended() == 0


async def test_what_is_not_done_in_time_is_answered_with_what_a_gateway_retries(tmp_path: Path) -> None:
    async with ready(tmp_path, SLOW, grace=0.1) as worker:
        running_one = asyncio.create_task(worker.predict(floats(1, 1)))
        await asyncio.to_thread(sys.modules["scale"].begun.wait, 20)
        waiting = asyncio.create_task(worker.predict(floats(2, 2)))
        await worker.registry.until(lambda: worker.registry.renewals[-1].report.queued_rows == 1)
        worker.stop.request()
        outcomes = await asyncio.gather(running_one, waiting, return_exceptions=True)
        sys.modules["scale"].go.set()
        assert [type(outcome) for outcome in outcomes] == [errors.WorkerLost, errors.WorkerDraining]
        assert await worker.ended() == 0


@pytest.mark.parametrize(
    ("source", "config", "reason"),
    [
        (b"class Scale: ...", {}, "'Scale' is not a subclass of penstock.Servable"),
        (b"import no_such_module", {}, "ModuleNotFoundError: No module named 'no_such_module'"),
        (SCALE.replace(b"x * 2", b"x[:, :1]"), {}, "output 'y' should be FP32[batch, 2], and the model gave float32"),
        (SCALE.replace(b"x * 2", b"1 / 0"), {}, "cannot answer 1 rows of zeros (MODEL_ERROR)"),
        (SCALE, {"version": 2}, "the registry has no version 2 of model 'scale'"),
        (SCALE, {"device": "cuda:99"}, "there is no device 'cuda:99' on this host; there are: cpu"),
    ],
    ids=["no servable", "import", "shape", "raises", "version", "device"],
)
async def test_a_load_that_fails_is_reported_with_its_reason(
    tmp_path: Path, source: bytes, config: dict[str, object], reason: str
) -> None:
    registry = FakeRegistry()
    registry.publish("scale.py", source)
    async with running(tmp_path, registry, **config) as worker:
        assert await worker.ended() == EXIT_LOAD_FAILED
    assert reason in registry.reports[-1].error
    assert registry.reports[-1].worker.state == model_pb2.MODEL_STATE_END
    assert registry.registered == []


async def test_an_artifact_with_another_digest_is_refused_and_not_kept(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.publish("scale.py", SCALE, digest="0" * 64)
    async with running(tmp_path, registry) as worker:
        assert await worker.ended() == EXIT_LOAD_FAILED
        assert left_in(worker.cache) == []
    assert "'scale.py' came with" in registry.reports[-1].error


async def test_a_stop_while_the_registry_does_not_answer_ends_the_worker(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.publish("scale.py", SCALE)
    registry.away = True
    async with running(tmp_path, registry) as worker:
        await registry.until(lambda: len(registry.registered) >= 2)
        worker.stop.request()
        assert await worker.ended() == 0


async def test_a_stop_abandons_a_load(tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    source = f"open({str(begun)!r}, 'w').close()\nopen({str(go)!r}).close()\n".encode() + SCALE
    os.mkfifo(begun)
    os.mkfifo(go)
    registry = FakeRegistry()
    registry.publish("scale.py", source)
    async with running(tmp_path, registry) as worker:
        await asyncio.to_thread(begun.read_bytes)
        worker.stop.request()
        assert await asyncio.wait_for(worker.task, 5) == 0
        await asyncio.to_thread(go.write_bytes, b"")  # the thread still loads: it is let go
    assert registry.registered == []


async def test_a_lost_device_ends_the_worker_with_a_status_of_its_own(tmp_path: Path) -> None:
    broken = SCALE.replace(b'InvalidInput("negative")', b'RuntimeError("CUDA error: an illegal memory access")')
    async with ready(tmp_path, broken) as worker:
        with pytest.raises(errors.WorkerLost):
            await worker.predict(floats(-1, 2))
        assert await worker.ended() == 70
        assert worker.registry.revoked == ["w1"]


async def test_published_limits_bound_the_batch(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.publish("scale.py", SCALE)
    registry.manifest.batching.max_batch_size = 3
    async with running(tmp_path, registry) as worker:
        await registry.until(lambda: bool(registry.renewals))
        assert registry.registered[0].worker.max_batch_size == 3
        answer = await worker.predict(floats(*range(8), shape=(4, 2)), metadata=[("x-penstock-timings", "on")])
        assert list(answer.outputs[0].floats) == [0, 2, 4, 6, 8, 10, 12, 14]
        assert worker.trailers["x-penstock-batch-size"] == "3"


async def test_gateways_on_the_host_are_told_of_a_socket_that_ends_with_the_worker(tmp_path: Path) -> None:
    async with ready(tmp_path) as worker:
        path = worker.registry.registered[0].worker.local_address
        assert path == f"{tmp_path}/worker.sock.x"
        assert os.stat(path).st_mode & 0o777 == 0o600
        worker.stop.request()
        assert await worker.ended() == 0
        assert os.path.basename(path) not in os.listdir(tmp_path)


def _example(**arrays: Any) -> bytes:
    file = io.BytesIO()
    named: Any = {name.replace("_", ".", 1): np.array(values, np.float32) for name, values in arrays.items()}
    np.savez(file, **named)
    return file.getvalue()


def _with_golden(**outputs: Any) -> FakeRegistry:
    registry = FakeRegistry()
    registry.publish("scale.py", SCALE)
    registry.publish(".penstock/golden.npz", _example(input_x=[[1, 2], [3, 4]], **outputs))
    registry.manifest.examples.golden = ".penstock/golden.npz"
    return registry


async def test_a_model_that_answers_its_golden_example_is_served(tmp_path: Path) -> None:
    registry = _with_golden(output_y=[[2, 4], [6, 8]], output_total=[3, 7])
    async with running(tmp_path, registry) as worker:
        await registry.until(lambda: bool(registry.renewals))
        assert list((await worker.predict(floats(1, 2))).outputs[0].floats) == [2, 4]


async def test_a_model_that_does_not_never_takes_a_lease(tmp_path: Path) -> None:
    registry = _with_golden(output_y=[[2, 4], [6, 8]], output_total=[3, 7.5])
    async with running(tmp_path, registry) as worker:
        assert await worker.ended() == EXIT_LOAD_FAILED
    assert registry.registered == []
    assert "output 'total' differs in 1 of 2 elements: at most by 0.5 at [1]" in registry.reports[-1].error
    assert registry.reports[-2].worker.stage == "proving"
