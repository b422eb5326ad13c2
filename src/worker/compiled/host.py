"""What this host is, as far as compiled code depends on it."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import torch

from .fitting import Host

_PATIENCE = 30.0
"""Seconds for a compiler to say its name."""


class NoCompiler(RuntimeError):
    """There is no C++ compiler here; the text says what to install."""


def this_host(device: str) -> Host:
    """The facts about this host and one of its devices, `cpu` or `cuda:0`. The compiler is not looked for."""
    kind = torch.device(device).type
    major, minor = torch.cuda.get_device_capability(device) if kind == "cuda" else (0, 0)
    capability = f"{major}{minor}" if kind == "cuda" else ""
    return Host(sys.platform, platform.machine(), _cpu_flags(), kind, capability, torch.__version__)


def compiler() -> str:
    """How the C++ compiler that torch will use names itself.

    Raises:
        NoCompiler: there is none, or it does not work.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler  # takes a second, and only who compiles needs it

    try:
        line = [get_cpp_compiler(), "--version"]
        done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=_PATIENCE)
    except Exception as error:  # torch has an error of its own for this, which is not public
        raise NoCompiler("there is no working C++ compiler on this host; install g++, or set CXX") from error
    return done.stdout.partition("\n")[0]


def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(found.partition(":")[2].split())
