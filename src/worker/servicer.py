"""WorkerService: calls and streams in; what they ask goes through the intake to the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import copy

from ..errors import PenstockError
from ..exchange.grpc_link import serve_grpc
from ..lanes import PRIORITIES
from ..rpc.call import Call
from ..rpc.service import raw
from .encoding import response
from .engine import Engine
from .fence import Fence
from .intake import Intake
from .job import Job, StreamJob
from .job_future import settled
from .sessions import Sessions
from .stream import ServedStream

EPOCH_KEY = "x-penstock-epoch"
TIMINGS_KEY = "x-penstock-timings"
PRIORITY_KEY = "x-penstock-priority"
SUSPECT_KEY = "x-penstock-suspect"


class WorkerServicer:
    """Serves one version; messages are bytes.

    Args:
        worker_id: told to callers who ask for timings.
        intake: reads requests.
        engine: answers them.
        sessions: of the gateways that exchange.
        fence: who means this worker.
    """

    def __init__(self, worker_id: str, intake: Intake, engine: Engine, sessions: Sessions, fence: Fence) -> None:
        self._worker_id = worker_id
        self._intake = intake
        self._engine = engine
        self._sessions = sessions
        self._fence = fence

    @raw
    async def predict(self, request: bytes, call: Call) -> bytes:
        """One question, one answer."""
        self._fence.check(call.text(EPOCH_KEY))
        return await self._answer(request, call)

    async def _answer(self, request: bytes, call: Call) -> bytes:
        job = self._intake.job(
            Job,
            request,
            call.deadline,
            priority=_priority(call),
            suspect=call.text(SUSPECT_KEY) == "on",
        )
        self._engine.submit(job)
        try:
            await settled(job)
        except PenstockError as error:
            raise copy(error) from None  # its batch mates may have the same one, and another request id
        finally:
            self._engine.cancel(job)  # if the caller has gone
        self._report(job, call)
        return response(job)

    @raw
    async def generate(self, request: bytes, call: Call) -> AsyncIterator[bytes]:
        """One question, as many answers as the model gives."""
        self._fence.check(call.text(EPOCH_KEY))
        if not self._intake.generator:
            yield await self._answer(request, call)
            return
        inputs, reading = self._intake.read(request)
        job = StreamJob(
            inputs,
            reading.rows,
            reading.key,
            call.deadline,
            batched=self._intake.batched,
            priority=_priority(call),
            size=len(request),
        )
        self._engine.submit(job)
        try:
            async for outputs in job.answers():
                yield reading.encode(outputs)
        finally:
            self._engine.cancel(job)
        self._report(job, call)

    @raw
    async def exchange(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """Many questions and answers, of one gateway."""
        self._fence.check(call.text(EPOCH_KEY))
        async for message in serve_grpc(requests, call, lambda link: ServedStream(link, self._sessions)):
            yield message

    def _report(self, job: Job, call: Call) -> None:
        """Timings, for callers who asked for them."""
        if call.text(TIMINGS_KEY) == "on":
            call.trailers += [
                ("x-penstock-queue-us", str(round(job.queue_s * 1e6))),
                ("x-penstock-compute-us", str(round(job.compute_s * 1e6))),
                ("x-penstock-batch-size", str(job.batch_rows)),
                ("x-penstock-worker", self._worker_id),
            ]


def _priority(call: Call) -> int:
    return PRIORITIES.get(call.text(PRIORITY_KEY), 0)
