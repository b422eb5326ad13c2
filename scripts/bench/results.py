"""What is kept of a run: one JSON file with every raw figure, and pictures beside it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .figure import Figure

PACKAGES = ("grpcio", "numpy", "penstock", "protobuf", "torch", "uvloop")


def facts() -> dict[str, Any]:
    """Date, commit, machine, versions."""
    changes = "+changes" if _git("status", "--porcelain") else ""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": (_git("rev-parse", "--short", "HEAD") or "unknown") + changes,
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "load_before": os.getloadavg()[0],
        },
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
    }


def write(
    folder: Path, name: str, about: dict[str, Any], figures: dict[str, Sequence[Figure]], failures: dict[str, str]
) -> Path:
    """Write what there is so far; called after every row, so that nothing is lost."""
    rows = {row: [figure.facts() for figure in found] for row, found in figures.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(about | {"rows": rows, "failures": failures}, indent=1) + "\n")
    return path


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True).stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
