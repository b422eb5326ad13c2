"""What is imported where: the light parts stay light."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = [
    "penstock",
    "penstock.__main__",
    "penstock.gateway.serve",
    "penstock.registry.serve",
    "penstock.supervisor.serve",
    "penstock.servable",
]


@pytest.mark.parametrize("module", LIGHT)
def test_torch_is_not_imported_by(module: str) -> None:
    assert "torch" not in _imported_by(module)


@pytest.mark.parametrize("module", LIGHT)
def test_numpy_is_not_imported_by(module: str) -> None:
    assert "numpy" not in _imported_by(module)


def _imported_by(module: str) -> set[str]:
    """All top-level modules that a fresh interpreter has after the import."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())
