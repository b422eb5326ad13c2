"""The package as others get it: `pip install .` gives a gateway and a registry that run without torch."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.rpc.lifecycle import EXIT_NO_TORCH, READY_FD

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with nothing but the package and what it depends on."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder / "clone")], check=True)
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", str(folder / "clone")]
    subprocess.run(install, check=True, capture_output=True)
    return python


@contextmanager
def server(python: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """A `penstock` server of that environment; yields what it says when it is ready."""
    read, write = os.pipe()
    line = [str(python), "-m", "penstock", *arguments]
    process = subprocess.Popen(line, pass_fds=(write,), env={**os.environ, READY_FD: str(write)}, cwd=python.parent)
    os.close(write)
    try:
        with os.fdopen(read) as ready:
            yield json.loads(ready.readline())
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_gateway_and_registry_run_without_torch(bare: Path, tmp_path: Path) -> None:
    missing = subprocess.run([str(bare), "-c", "import torch"], capture_output=True)
    assert missing.returncode != 0
    with (
        server(bare, "registry", f"--data-dir={tmp_path}", "--registry-port=0") as registry,
        server(
            bare,
            "gateway",
            f"--data-dir={tmp_path}",
            "--grpc-port=0",
            "--http-port=0",
            f"--registry={registry['address']}",
        ) as gateway,
        penstock.Client(gateway["grpc"], retries=20) as client,
    ):
        assert client.status() == []


def test_a_worker_without_torch_says_what_to_install(bare: Path, tmp_path: Path) -> None:
    line = [str(bare), "-m", "penstock", "worker", "--name=scale", "--version=1"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == EXIT_NO_TORCH
    assert "pip install 'penstock[worker]'" in done.stderr


def test_the_wheel_brings_every_package_and_the_type_marker(bare: Path) -> None:
    code = "import penstock, pathlib; print(*sorted(p.name for p in pathlib.Path(penstock.__file__).parent.iterdir()))"
    done = subprocess.run([str(bare), "-c", code], capture_output=True, text=True, check=True, cwd=bare.parent)
    packages = {entry.name for entry in (ROOT / "src").iterdir() if (entry / "__init__.py").is_file()}
    assert packages | {"py.typed"} <= set(done.stdout.split())
