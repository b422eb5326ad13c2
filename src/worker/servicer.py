"""WorkerService: messages in, checked jobs to the batcher, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from penstock.v1 import model_pb2, tensor_pb2
from penstock.v1 import predict_pb2 as pb

from ..errors import InvalidTensor, LeaseFenced, ServableIsGenerator, Violation
from ..rpc.call import Call
from ..signature import MAX_VIOLATIONS, Signature, TensorSpec, fit
from ..tensors import Array, Form, decode, encode, form_of, shape_of
from .batcher import Batcher
from .job import Job, Outputs, StreamJob

EPOCH_KEY = "x-penstock-epoch"
TIMINGS_KEY = "x-penstock-timings"

J = TypeVar("J", bound=Job)
R = TypeVar("R", pb.PredictResponse, pb.GenerateResponse)


class WorkerServicer:
    """Serves one version. `epoch` is set when the lease is taken; 0 accepts every request (warm-up, tests)."""

    def __init__(
        self, name: str, version: int, worker_id: str, signature: Signature, batcher: Batcher, *, generator: bool
    ) -> None:
        self.epoch = 0
        self._spec = model_pb2.ModelSpec(name=name, version=version)
        self._worker_id = worker_id
        self._signature = signature
        self._outputs = {spec.name: (index, spec) for index, spec in enumerate(signature.outputs)}
        self._batcher = batcher
        self._generator = generator

    async def predict(self, request: pb.PredictRequest, call: Call) -> pb.PredictResponse:
        """One question, one answer."""
        self._check_epoch(call)
        if self._generator:
            raise ServableIsGenerator("this model answers many times; call Generate, or the client's generate()")
        wanted = self._wanted(request.output_names)
        job = self._job(Job, request, call)
        with self._batcher.admit(job):
            outputs = await job.answer()
        self._report(job, call)
        return self._answer(pb.PredictResponse(), outputs, wanted, form_of(request.inputs))

    async def generate(self, request: pb.GenerateRequest, call: Call) -> AsyncIterator[pb.GenerateResponse]:
        """One question, as many answers as the model gives."""
        self._check_epoch(call)
        wanted = self._wanted(request.output_names)
        form = form_of(request.inputs)
        job = self._job(StreamJob, request, call)
        with self._batcher.admit(job):
            async for outputs in job.answers():
                yield self._answer(pb.GenerateResponse(), outputs, wanted, form)
        self._report(job, call)

    def _check_epoch(self, call: Call) -> None:
        """An address may have been another worker's: the caller says which one it means (0 or nothing: any)."""
        meant = call.text(EPOCH_KEY)
        if meant not in ("", "0") and self.epoch and meant != str(self.epoch):
            raise LeaseFenced(
                f"the request is for epoch {meant[:20]}, this worker has {self.epoch}; read the registry again"
            )

    def _job(self, kind: type[J], request: pb.PredictRequest | pb.GenerateRequest, call: Call) -> J:
        """The request's tensors, checked against the signature and in its order."""
        checked = fit(self._signature, [shape_of(tensor) for tensor in request.inputs])
        _refuse_if(checked.violations)
        inputs = self._decoded(request.inputs, checked.order)
        batched = bool(self._signature.batch)
        key = tuple(array.shape[1:] for array in inputs) if batched else None  # alone all the same: the batch is 1
        return kind(inputs, checked.rows if batched else 1, key, call.deadline, batched=batched)

    def _decoded(self, tensors: Sequence[tensor_pb2.Tensor], order: Sequence[int]) -> list[Array]:
        arrays: list[Array] = []
        violations: list[Violation] = []
        for index, spec in zip(order, self._signature.inputs, strict=True):
            try:
                arrays.append(decode(tensors[index], spec.dtype, f"inputs[{index}]"))
            except InvalidTensor as error:
                violations.extend(error.violations)
        _refuse_if(violations)
        return arrays

    def _wanted(self, names: Sequence[str]) -> list[tuple[int, TensorSpec]]:
        """The outputs asked for, with their places in the signature."""
        every = self._outputs
        if not names:
            return list(every.values())
        known = ", ".join(map(repr, every))
        _refuse_if(
            [
                Violation(f"output_names[{index}]", f"unknown output {name[:64]!r}; the model gives {known}")
                for index, name in enumerate(names[:10_000])
                if name not in every
            ]
        )
        return [every[name] for name in names]

    def _answer(self, message: R, outputs: Outputs, wanted: Sequence[tuple[int, TensorSpec]], form: Form) -> R:
        message.model_spec.CopyFrom(self._spec)
        message.outputs.extend([encode(spec.name, outputs[index], spec.dtype, form) for index, spec in wanted])
        return message

    def _report(self, job: Job, call: Call) -> None:
        """Timings, for callers who asked for them."""
        if call.text(TIMINGS_KEY) == "on":
            call.trailers += [
                ("x-penstock-queue-us", str(round(job.queue_s * 1e6))),
                ("x-penstock-compute-us", str(round(job.compute_s * 1e6))),
                ("x-penstock-batch-size", str(job.batch_rows)),
                ("x-penstock-worker", self._worker_id),
            ]


def _refuse_if(violations: Sequence[Violation]) -> None:
    """All that is wrong at once, as far as there is room; the message is the first of it."""
    if violations:
        first = violations[0]
        raise InvalidTensor(f"{first.field}: {first.description}", violations=violations[:MAX_VIOLATIONS])
