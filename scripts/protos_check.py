"""Fail when the committed stubs are not what the protos make: generate into a temporary folder and compare."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main(protos: list[str]) -> int:
    """Compare; 0 if nothing differs."""
    with tempfile.TemporaryDirectory() as folder:
        services = [proto for proto in protos if "\nservice " in Path(proto).read_text()]
        _protoc(protos, f"--python_out={folder}", f"--mypy_out=quiet:{folder}")
        _protoc(services, f"--grpc_python_out={folder}", f"--mypy_grpc_out=quiet:{folder}")
        different = [path for part in _folders(protos) for path in _different(Path(folder) / "penstock" / part, part)]
    for path in different:
        print(f"{path} is not what protos/ makes; run `make protos` and commit", file=sys.stderr)
    return 1 if different else 0


def _folders(protos: list[str]) -> list[Path]:
    """Of the protos, and in src/ of their stubs."""
    return sorted({Path(proto).parent.relative_to("protos/penstock") for proto in protos})


def _different(fresh: Path, part: Path) -> list[Path]:
    committed = Path("src") / part
    names = {path.name for place in (fresh, committed) for path in place.glob("*_pb2*")}
    return [committed / name for name in sorted(names) if not _same(fresh / name, committed / name)]


def _protoc(protos: list[str], *outputs: str) -> None:
    # The plugins are installed beside the interpreter, which need not be on the path.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    line = [sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", *outputs, *protos]
    subprocess.run(line, check=True, env=environment)


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
