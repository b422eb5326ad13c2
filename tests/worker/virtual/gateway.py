"""A gateway as a worker's sessions see it, and a device that takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.errors import ModelError
from penstock.rpc.errors import from_message
from penstock.signature import DType, Signature, TensorSpec
from penstock.tensors import encode
from penstock.testing.links import LocalLink, Recorder, linked
from penstock.v1 import predict_pb2, tensor_pb2
from penstock.v1 import worker_pb2 as pb
from penstock.worker.engine import BatchPolicy, Done, Engine, Finished, ServiceTimes, buckets
from penstock.worker.fence import Fence
from penstock.worker.intake import Intake
from penstock.worker.job import Job, Outcome
from penstock.worker.sessions import Sessions
from penstock.worker.stream import ServedStream

SIGNATURE = Signature(
    (TensorSpec("FP32", ["batch", "width"], "x"),), (TensorSpec("FP32", ["batch", "width"], "y"),), "batch"
)


def request(value: float = 0.0, rows: int = 1, width: int = 2) -> bytes:
    tensor = encode("x", np.full((rows, width), value, np.float32), DType.FP32)
    return predict_pb2.PredictRequest(inputs=[tensor]).SerializeToString()


def values(response: bytes) -> list[float]:
    """The first element of each row."""
    [tensor] = predict_pb2.PredictResponse.FromString(response).outputs
    return np.frombuffer(tensor.raw, "<f4").reshape(list(tensor.shape))[:, 0].tolist()  # type: ignore[no-any-return]


class Device:
    """Doubles. A value below zero is an error, the same for all of a batch. Batches of any size take `seconds`.

    Args:
        seconds: of a batch.
        copies: rows are copied on arrival, as where they have fixed sizes.
    """

    asynchronous = False

    def __init__(self, seconds: float = 1.0, *, copies: bool = True) -> None:
        self.seconds = seconds
        self.batches: list[list[float]] = []
        self._copies = copies
        self._copied: dict[int, Any] = {}

    def write(self, job: Job) -> None:
        if self._copies:
            self._copied[id(job)] = [array.copy() for array in job.inputs]
            job.inputs, job.slot = (), 0

    def free(self, job: Job) -> None:
        self._copied.pop(id(job), None)

    def launch(self, batch: Sequence[Job], done: Done) -> None:
        inputs = [self._copied.pop(id(job), job.inputs) for job in batch]
        self.batches.append([float(arrays[0][0, 0]) for arrays in inputs])
        error = ModelError("negative")
        outcomes: list[Outcome] = [error if (arrays[0] < 0).any() else [arrays[0] * 2] for arrays in inputs]
        asyncio.get_running_loop().call_later(self.seconds, done, Finished(outcomes, self.seconds))


class Worker:
    """Sessions on a real engine."""

    def __init__(self, device: Device | None = None, **policy: Any) -> None:
        self.device = device or Device()
        times = ServiceTimes()
        for rows in buckets(BatchPolicy(**policy).max_batch_size):
            times.learn(rows, self.device.seconds)
        self.engine = Engine(self.device, BatchPolicy(**policy), times)
        self.fence = Fence()
        intake = Intake("m", 1, SIGNATURE, lambda arrays: tuple(array.shape[1:] for array in arrays))
        self.sessions = Sessions(intake, self.engine, self.fence)

    def connect(self, shared: int = 0, **more: int) -> Gateway:
        """A link of a gateway, on which nothing was said yet."""
        gateway = Gateway()
        gateway.link, gateway.served = linked(
            gateway.heard, lambda link: ServedStream(link, self.sessions, **more), shared=shared
        )
        return gateway


class Gateway:
    """One link of a gateway."""

    def __init__(self) -> None:
        self.heard = Recorder()
        self.link: LocalLink
        self.served: LocalLink

    def say(self, **fields: Any) -> None:
        self.link.write(pb.ExchangeRequest(**fields).SerializeToString())

    def hello(self, session: int = 1, stream: int = 0, **more: Any) -> None:
        hello = {key: more.pop(key) for key in ("epoch", "unanswered") if key in more}
        self.say(hello=pb.ExchangeHello(session=session, stream=stream, **hello), **more)

    def ask(self, id_: int, value: float = 0.0, rows: int = 1, **more: Any) -> None:
        self.say(questions=[question(id_, value, rows, **more)])

    @property
    def said(self) -> list[pb.ExchangeResponse]:
        """What the worker has said, message by message."""
        return [pb.ExchangeResponse.FromString(message) for message in self.heard.messages]

    @property
    def answers(self) -> dict[int, Any]:
        """By question: the values, or the reason why there are none."""
        return {answer.id: self._outcome(answer) for said in self.said for answer in said.answers}

    def _outcome(self, answer: pb.ExchangeAnswer) -> Any:
        if answer.HasField("error"):
            return from_message(answer.error).reason
        if answer.HasField("block"):
            assert self.link.memory is not None
            return values(bytes(self.link.memory.theirs.read(answer.block.offset, answer.block.size)))
        return values(answer.response)

    @property
    def credit(self) -> int:
        """All that was granted."""
        return sum(said.credits for said in self.said)

    @property
    def released(self) -> list[int]:
        return [offset for said in self.said for offset in said.released]

    async def answered(self, count: int) -> None:
        """Wait until so many questions have an answer."""
        await self.heard.until(lambda heard: len(self.answers) >= count)


def question(id_: int, value: float = 0.0, rows: int = 1, width: int = 2, **more: Any) -> pb.ExchangeQuestion:
    more.setdefault("request", request(value, rows, width))
    return pb.ExchangeQuestion(id=id_, rows=rows, **more)


def typed(**fields: Any) -> bytes:
    return predict_pb2.PredictRequest(inputs=[tensor_pb2.Tensor(**fields)]).SerializeToString()


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(count: int = 5) -> None:
    """Let everything happen that takes no time."""
    for _ in range(count):
        await asyncio.sleep(0)


async def connected(worker: Worker, shared: int = 0, **hello: Any) -> Gateway:
    """A gateway that has its welcome."""
    gateway = worker.connect(shared)
    gateway.hello(**hello)
    await turns()
    return gateway
