"""Between this process's memory and the device's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from ..loaded import Value

Arrival = Callable[[], Sequence[Value]]
"""Waits for values and returns them in this process's memory; called once, from any thread."""


class Transfer(Protocol):
    """The way to a device and back. Called from the model's thread."""

    asynchronous: bool
    """Whether the device works on its own, so that `down` returns before the model has answered."""
    pinned: bool
    """Whether what goes up should be in pinned memory."""

    def up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Begin to bring a tensor to the device; its memory must stay as it is until the model has answered."""

    def down(self, values: Sequence[Value]) -> Arrival:
        """Begin to bring back what the model gave."""

    def free_memory(self) -> None:
        """Give back what the device keeps for later."""


def transfer_for(device: str) -> Transfer:
    """The way to `cpu` or `cuda:0`."""
    return _Host() if device == "cpu" else _Cuda(torch.device(device))


class _Host:
    """The model computes where everything is already."""

    asynchronous = False
    pinned = False

    def up(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def down(self, values: Sequence[Value]) -> Arrival:
        return lambda: values

    def free_memory(self) -> None:
        pass


class _Cuda:
    """Copies have streams of their own, so that those of one batch go on while another one is computed."""

    asynchronous = True
    pinned = True

    def __init__(self, device: torch.device) -> None:
        stream: Any = torch.cuda.Stream  # untyped upstream
        self._device = device
        self._up, self._down = stream(device), stream(device)

    def up(self, tensor: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(self._up):
            moved = tensor.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._up)
        moved.record_stream(computing)  # or its memory could be given to another tensor while it is still read
        return moved

    def down(self, values: Sequence[Value]) -> Arrival:
        event: Any = torch.cuda.Event  # untyped upstream
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            hosts = [self._begin(value) for value in values]
            # Without `blocking` the wait would keep a core busy; asking again and again would hold the interpreter.
            arrived = event(blocking=True)
            arrived.record(self._down)

        def wait() -> Sequence[Value]:
            arrived.synchronize()
            return hosts

        return wait

    def _begin(self, value: Value) -> Value:
        if not isinstance(value, torch.Tensor) or not value.is_cuda:
            return value
        source = value.detach()
        host = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
        host.copy_(source, non_blocking=True)
        source.record_stream(self._down)
        return host

    def free_memory(self) -> None:
        torch.cuda.empty_cache()
