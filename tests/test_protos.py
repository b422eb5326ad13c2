"""The committed stubs are what the protos make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _check(root: Path) -> subprocess.CompletedProcess[str]:
    protos = [str(p.relative_to(root)) for p in sorted((root / "protos/penstock").rglob("*.proto"))]
    line = [sys.executable, str(ROOT / "scripts/protos_check.py"), *protos]
    return subprocess.run(line, cwd=root, capture_output=True, text=True)


def test_the_committed_stubs_are_what_the_protos_make() -> None:
    done = _check(ROOT)
    assert done.returncode == 0, done.stderr


def test_a_changed_proto_is_noticed(tmp_path: Path) -> None:
    for folder in ("protos", "src/v1", "src/etcd/v3"):
        subprocess.run(["cp", "-r", "--parents", folder, str(tmp_path)], cwd=ROOT, check=True)
    proto = tmp_path / "protos/penstock/v1/tensor.proto"
    proto.write_text(proto.read_text().replace("bytes raw = 4;", "bytes raw = 40;"))
    done = _check(tmp_path)
    assert done.returncode == 1
    assert "tensor_pb2.py is not what protos/ makes" in done.stderr
