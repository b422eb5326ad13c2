"""An exported program, compiled by AOTInductor for this host: from the cache, or made now."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch

from .cache import CompiledCache
from .compiling import compile_program
from .host import compiler, this_host
from .package import unpack
from .runner import Run, load_compiled

_REVISION = 1
"""Of what this release does with a program; another number, and all are compiled again."""


def compiled_program(program: Path, device: str, cache: CompiledCache) -> Run:
    """Load a program's package, compiling it if this has not been done on a host like this one.

    Blocks for as long as that takes, half a minute at least.

    Args:
        program: the `.pt2` file.
        device: `cpu` or `cuda:0`.
        cache: where packages are kept.

    Raises:
        Exception: there is no compiler, it fails, or what it made cannot be loaded.
    """
    threads = torch.get_num_threads()
    with program.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()

    def make(folder: Path) -> None:
        package = folder / "package.pt2"
        compile_program(program, package, device, threads)
        unpack(package, folder)
        package.unlink()

    return load_compiled(cache.get(_key(content, device, threads), make), device, checks=False).run


def _key(content: str, device: str, threads: int) -> str:
    host = this_host(device)
    facts = {**asdict(host), "cpu_flags": sorted(host.cpu_flags), "compiler": compiler()}
    said = json.dumps([_REVISION, content, facts, threads], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()
