"""Workers that answer at once and compute nothing, many in one process: for what a gateway costs by their number.

python -m bench.fake_workers FOLDER COUNT        (prints its ready line, ends when its standard input does)
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
import numpy as np

from penstock.exchange.link import Link
from penstock.exchange.outbox import Outbox
from penstock.exchange.unix import serve_unix
from penstock.signature import DType
from penstock.tensors import encode
from penstock.v1 import model_pb2, predict_pb2
from penstock.v1 import registry_pb2 as registry
from penstock.v1 import worker_pb2 as pb

MODEL = "small"
CREDITS = 256
"""Rows that each takes; more than a row of the benchmark has in flight, so that nothing waits."""


class FakeWorker:
    """One link's handler: every question is answered with the same bytes."""

    def __init__(self, link: Link, answer: bytes) -> None:
        self._answer = answer
        self._outbox: Outbox[pb.ExchangeResponse] = Outbox(pb.ExchangeResponse)
        self._outbox.attach(link)

    def on_message(self, message: bytes) -> None:
        """Welcome, or answer."""
        request = pb.ExchangeRequest.FromString(message)
        response = self._outbox.message
        if request.HasField("hello"):
            response.welcome.max_batch_size = 32
            response.credits = CREDITS
        for question in request.questions:
            response.answers.add(id=question.id, response=self._answer)
        if request.questions:
            response.credits += sum(question.rows for question in request.questions)
        response.load.CopyFrom(pb.ExchangeLoad(one_us=100, full_us=1000))
        self._outbox.touch(len(self._answer) * len(request.questions))

    def on_writable(self) -> None:
        """Send what has collected."""
        self._outbox.on_writable()

    def on_closed(self, error: Exception | None) -> None:
        """The gateway has gone."""
        self._outbox.detach()


def records(folder: Path, count: int) -> registry.WatchResponse:
    """What a registry would say of these workers and their model."""
    manifest = model_pb2.Manifest(name=MODEL, version=1, format="python")
    available = model_pb2.MODEL_STATE_AVAILABLE
    version = registry.VersionRecord(manifest=manifest, state=available, desired_instances=count)
    return registry.WatchResponse(
        snapshot=True,
        models=[registry.ModelRecord(name=MODEL, versions=[version], aliases={"stable": 1})],
        workers=[
            registry.WorkerRecord(
                worker_id=f"fake-{number}",
                epoch=number + 1,
                name=MODEL,
                version=1,
                address=f"unix:{folder}/{number}.grpc",
                local_address=f"{folder}/{number}.sock",
                device="cpu",
                state=available,
                max_batch_size=32,
            )
            for number in range(count)
        ],
    )


@contextmanager
def fake_workers(folder: Path, count: int) -> Iterator[registry.WatchResponse]:
    """So many of them for the length of the block."""
    folder.mkdir(parents=True)
    line = [sys.executable, "-m", "bench.fake_workers", str(folder), str(count)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise RuntimeError("the fake workers did not start")
        yield records(folder, count)
    finally:
        process.communicate()


async def _serve(folder: Path, count: int) -> None:
    y = encode("y", np.zeros((1, 16), np.float32), DType.FP32)
    spec = model_pb2.ModelSpec(name=MODEL, version=1)
    answer = predict_pb2.PredictResponse(model_spec=spec, outputs=[y]).SerializeToString()
    channels = grpc.aio.server()  # a gateway keeps a gRPC connection to every worker, whatever it sends over it
    for worker in records(folder, count).workers:
        channels.add_insecure_port(worker.address)
    await channels.start()
    servers = [
        await serve_unix(worker.local_address, lambda link: FakeWorker(link, answer))
        for worker in records(folder, count).workers
    ]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for server in servers:
        server.close()
    await channels.stop(0)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
