"""From a model's answer on the wire to what a caller works with: arrays by name, and facts about the call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.v1 import predict_pb2 as pb
from penstock.v1 import tensor_pb2

from ..errors import Internal, InvalidTensor
from ..signature import DType
from ..tensors import STORAGE, decode

REQUEST_ID = "x-request-id"
TIMINGS = "x-penstock-timings"
_QUEUE, _COMPUTE = "x-penstock-queue-us", "x-penstock-compute-us"
_BATCH, _WORKER = "x-penstock-batch-size", "x-penstock-worker"

Metadata = Iterable[tuple[str, str | bytes]]

_PLAIN = {int(dtype): storage for dtype, storage in STORAGE.items() if dtype not in (DType.BF16, DType.BYTES)}
"""Element types that are in numpy what they are on the wire."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a call went, as the worker measured it."""

    queue_s: float
    """Seconds from the request's arrival at the worker until its batch was started."""
    compute_s: float
    """Seconds that its batch took."""
    batch_size: int
    """Rows in its batch, those of other callers included."""
    worker: str | None
    """Which worker answered; None if the server does not say."""


class Prediction(Mapping[str, Any]):
    """The outputs of a model by name, in the model's order or the one asked for.

    Each is a numpy array; or, where some input was a torch tensor, a torch tensor in host memory. Numpy arrays are
    read-only views of the answer: copy one to change it. BF16 comes as float32 in numpy, which has no such type; BYTES
    is always a numpy array of bytes objects.
    """

    __slots__ = ("_outputs", "model", "request_id", "timings", "version")

    def __init__(
        self, outputs: Mapping[str, Any], model: str, version: int, request_id: str = "", timings: Timings | None = None
    ) -> None:
        self._outputs = dict(outputs)
        self.model = model
        self.version = version
        """The version that answered, whatever alias was asked."""
        self.request_id = request_id
        """The id under which the servers' logs name the call."""
        self.timings = timings
        """None unless they were asked for and the server gave them."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._outputs:
            raise KeyError(f"no output {name!r}; {self.model} gave {', '.join(map(repr, self._outputs)) or 'none'}")
        return self._outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def __repr__(self) -> str:
        return f"Prediction({self._outputs!r}, model={self.model!r}, version={self.version})"


def prediction(
    response: pb.PredictResponse | pb.GenerateResponse,
    torch: bool,
    request_id: str = "",
    trailers: Metadata = (),
) -> Prediction:
    """Read an answer.

    Args:
        response: it is kept alive by the arrays.
        torch: give torch tensors.
        request_id: what it is unless the trailers say it.
        trailers: the call's; they carry request id and timings.

    Raises:
        Internal: the server sent what is not a tensor.
    """
    facts = {key: value for key, value in trailers if isinstance(value, str)}
    outputs = {}
    for index, tensor in enumerate(response.outputs):
        array = None if torch else _view(tensor)
        outputs[tensor.name] = _array(tensor, index, torch) if array is None else array
    spec = response.model_spec
    return Prediction(outputs, spec.name, spec.version, facts.get(REQUEST_ID, request_id), _timings(facts))


def _view(tensor: tensor_pb2.Tensor) -> Any:
    """An array over the elements as they came; None if that takes a closer look."""
    raw, storage, shape = tensor.raw, _PLAIN.get(tensor.dtype), tuple(tensor.shape)
    if not raw or storage is None:
        return None
    try:
        array = np.frombuffer(raw, storage).reshape(shape)
    except ValueError:
        return None
    return array if array.shape == shape else None  # numpy puts what fits in the place of a negative size


def _array(tensor: tensor_pb2.Tensor, index: int, torch: bool) -> Any:
    try:
        dtype = DType(tensor.dtype)
        array = decode(tensor, dtype, f"outputs[{index}]")
    except (InvalidTensor, ValueError) as error:
        raise Internal(f"the answer cannot be read: output {tensor.name!r}: {error}") from error
    if dtype is DType.BYTES:
        return array
    if torch:
        from ..torch_tensors import to_torch

        return to_torch(array, dtype)
    if dtype is DType.BF16:  # the upper half of a binary32
        return np.left_shift(array, 16, out=np.empty(array.shape, np.uint32), dtype=np.uint32).view(np.float32)
    return array


def _timings(facts: Mapping[str, str]) -> Timings | None:
    if not facts or not facts.keys() & {_QUEUE, _COMPUTE, _BATCH}:
        return None
    queue, compute, batch = (int(facts.get(key, 0)) for key in (_QUEUE, _COMPUTE, _BATCH))
    return Timings(queue / 1e6, compute / 1e6, batch, facts.get(_WORKER))
