"""Which device a worker uses, and how many threads."""

from __future__ import annotations

import os

import torch

from ..errors import ModelLoadFailed


def resolve_device(wanted: str, index: int) -> str:
    """A device that torch knows: `auto` is a GPU where there is one, and spreads instances over all of them.

    Raises:
        ModelLoadFailed: the device is not there; the message names those that are.
    """
    gpus = torch.cuda.device_count()
    if wanted in ("", "auto"):
        return f"cuda:{index % gpus}" if gpus else "cpu"
    if wanted == "cpu":
        return "cpu"
    kind, _, number = wanted.partition(":")
    chosen = int(number) if number.isdecimal() else index % max(gpus, 1)
    if kind == "cuda" and (number.isdecimal() or not number) and chosen < gpus:
        return f"cuda:{chosen}"
    there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(gpus))])
    raise ModelLoadFailed(f"there is no device {wanted!r} on this host; there are: {there}")


def use_threads(threads: int) -> None:
    """Bound torch's own threads; half of the cores by default, since gateway and callers need some too."""
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 2) // 2))
