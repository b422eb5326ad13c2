"""Fail when the committed stubs are not what the protos make: generate into a temporary folder and compare."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMMITTED = Path("src/v1")


def main(protos: list[str]) -> int:
    """Compare; 0 if nothing differs."""
    with tempfile.TemporaryDirectory() as folder:
        services = [proto for proto in protos if "\nservice " in Path(proto).read_text()]
        _protoc(protos, f"--python_out={folder}", f"--mypy_out=quiet:{folder}")
        _protoc(services, f"--grpc_python_out={folder}", f"--mypy_grpc_out=quiet:{folder}")
        fresh = Path(folder) / "penstock" / "v1"
        names = {path.name for place in (fresh, COMMITTED) for path in place.glob("*_pb2*")}
        different = sorted(name for name in names if not _same(fresh / name, COMMITTED / name))
    for name in different:
        print(f"{COMMITTED / name} is not what protos/ makes; run `make protos` and commit", file=sys.stderr)
    return 1 if different else 0


def _protoc(protos: list[str], *outputs: str) -> None:
    # The plugins are installed beside the interpreter, which need not be on the path.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    line = [sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", *outputs, *protos]
    subprocess.run(line, check=True, env=environment)


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
