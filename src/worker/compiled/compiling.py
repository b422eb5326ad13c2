"""Compile an exported program by AOTInductor, in a process of its own.

A compiler takes much memory, which comes back when its process ends, and may hang or crash, which then costs the worker
nothing. The process gives way to those that serve.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 540.0
"""Seconds. A model that takes longer is not worth waiting for."""
_NICE = 10


class CompilationFailed(RuntimeError):
    """The text says why, for a person."""


def compile_program(program: Path, package: Path, device: str, threads: int, limit: float = LIMIT) -> None:
    """Write the package of a program. Blocks; the process ends with its parent.

    Args:
        program: the `.pt2` file.
        package: the file to write, `.pt2` as well.
        device: for which it is compiled, `cpu` or `cuda:0`.
        threads: that it will use on a CPU: they are part of the code.
        limit: seconds after which it is given up.

    Raises:
        CompilationFailed: it took too long, or what the compiler said last.
    """
    line = [sys.executable, "-m", __name__, str(program), str(package), device, str(threads)]
    with tempfile.TemporaryDirectory(prefix="penstock-compiler-") as scratch:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": scratch}  # else what it leaves would only grow
        try:
            done = subprocess.run(
                line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            raise CompilationFailed(f"the compiler took more than {limit:g} s") from None
    if done.returncode or not package.is_file():
        said = done.stderr.strip().rpartition("\n")[2][:200]
        raise CompilationFailed(f"the compiler ended with status {done.returncode}: {said}")


def main() -> None:
    """What runs in the process."""
    from ...rpc.lifecycle import die_with_parent

    die_with_parent()
    os.nice(_NICE)
    program, package, device, threads = sys.argv[1:]

    import torch
    from torch.export.passes import move_to_device_pass

    torch.set_num_threads(int(threads))
    exported = torch.export.load(program)
    if device != "cpu":
        exported = move_to_device_pass(exported, device)
    torch._inductor.aoti_compile_and_package(exported, package_path=package)


if __name__ == "__main__":
    main()
