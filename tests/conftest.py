"""Which event loop a test runs on: the usual one, or one whose time passes at once, for tests in a folder `virtual`."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from hypothesis import HealthCheck, settings

from penstock.testing import VirtualTimeLoop

if TYPE_CHECKING:
    from .digits import Compiled

# The same examples on every run and no time limit: a test run must not depend on luck, or on how busy the machine is.
# `pytest --hypothesis-profile=search` looks for new ones.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# grpc.aio ends its thread when its last object is collected, and may hang doing so: it lives as long as the tests.
grpc.aio.init_grpc_aio()


@pytest.fixture(scope="session")
def compiled_digits(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """A program that is compiled once, for all tests that need one; whoever is first waits a minute or two."""
    from .digits import compile_digits  # imports torch

    return compile_digits(tmp_path_factory.mktemp("compiled-digits"))


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.parent.name == "virtual":
        return {"virtual": VirtualTimeLoop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk takes a tmpfs, and this user may not mount one: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
