"""A batch as TorchServe gives it to a handler, and what the handler gives as bytes."""

from __future__ import annotations

import io
import json
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ....errors import InvalidInput
from ....tensors import Array
from ...loaded import Value
from .handler import Entry

log = logging.getLogger("penstock.worker.mar")


class Request(dict[str, Any]):
    """One of a batch. A handler that looks for `body` finds `data`, as an HTTP client of TorchServe would send it."""

    def __missing__(self, key: str) -> Any:
        if key == "body" and "data" in self:
            return self["data"]
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As a dict's."""
        return self["data"] if key == "body" and key not in self and "data" in self else super().get(key, default)


class Service:
    """Called from the thread that loaded the handler.

    Args:
        entry: the handler.
        context: what it is given each time.
        names: of the inputs: the keys of a request's dict.
        processor: makes what holds a request's headers and status.
        refusal: the exception by which handlers answer with a status.
    """

    def __init__(
        self, entry: Entry, context: Any, names: Sequence[str], processor: Callable[[Any], Any], refusal: Any
    ) -> None:
        self._entry, self._context, self._names = entry, context, names
        self._processor, self._refusal = processor, refusal
        self._told = False

    def run(self, values: Sequence[Value]) -> Sequence[Value]:
        """Each input [rows] of bytes → one output [rows] of bytes.

        Raises:
            InvalidInput: the handler refuses a request by a status below 500, or an empty one by any error.
            Exception: whatever else the handler raises, or its answer is not one for each request.
        """
        batch = [Request(zip(self._names, map(bytearray, row), strict=True)) for row in zip(*values, strict=True)]
        with torch.inference_mode(False):  # handlers choose themselves
            return [_column([_to_bytes(answer) for answer in self._answers(batch)])]

    def _answers(self, batch: Sequence[Request]) -> Sequence[Any]:
        self._announce(batch)
        try:
            answers = self._entry(list(batch), self._context)
        except self._refusal as error:
            _raise_status(error.error_code, error.message)
            raise
        except Exception as error:
            # What a worker asks with before there are callers; of a caller's empty request it is true, too.
            if any(map(any, (request.values() for request in batch))) or _is_devices(error):
                raise
            self._tell(error)
            raise InvalidInput("the handler refuses an empty request") from error
        if not isinstance(answers, list):
            raise TypeError(f"a handler must give a list, not a {type(answers).__name__}")
        if len(answers) != len(batch):
            raise ValueError(f"the handler was given {len(batch)} requests and gave {len(answers)} answers")
        for index in range(len(batch)):
            _raise_status(*self._context.get_response_status(index))
        return answers

    def _tell(self, error: Exception) -> None:
        """Once: if it is a mistake of the handler, it will not be heard of before there are callers."""
        if not self._told:
            log.warning("the handler refuses an empty request, with which workers warm up: %r", error)
        self._told = True

    def _announce(self, batch: Sequence[Request]) -> None:
        """TorchServe's request ids and headers; of a gRPC request it has no header but its fields' empty types."""
        ids = {index: uuid.uuid4().hex for index in range(len(batch))}
        self._context.request_ids = self._context.metrics.request_ids = ids
        self._context.request_processor = [
            self._processor({name: {"content-type": ""} for name in self._names}) for _ in batch
        ]


def _is_devices(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "CUDA" in str(error)


def _raise_status(code: int | None, phrase: str | None) -> None:
    """A request's status is an error for it: the batch is run in halves until it is alone."""
    if code is None or code < 400:
        return
    if code < 500:
        raise InvalidInput(f"the handler answers with status {code} {phrase or ''}".rstrip()[:400])
    raise RuntimeError(f"the handler answers with status {code} {phrase or ''}")


def _to_bytes(answer: Any) -> bytes:
    """As TorchServe writes them."""
    if isinstance(answer, (bytes, bytearray)):
        return bytes(answer)
    if isinstance(answer, str):
        return answer.encode()
    if isinstance(answer, torch.Tensor):
        buffer = io.BytesIO()
        torch.save(answer, buffer)
        return buffer.getvalue()
    return json.dumps(answer, indent=2).encode()


def _column(answers: Sequence[bytes]) -> Array:
    column = np.empty(len(answers), object)
    column[:] = answers
    return column
