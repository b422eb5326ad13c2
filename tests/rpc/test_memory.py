"""How a server process handles its memory."""

from __future__ import annotations

import gc
import platform
import resource
import subprocess
import sys

import pytest

from penstock.rpc.memory import settle

PROBE = """
import ctypes, resource, sys
from penstock.rpc.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
blocks = lambda: [bytes(600_000) for _ in range(8)]  # as many as are in flight at once
blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    blocks()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    run = subprocess.run([sys.executable, "-c", PROBE, mode], check=True, capture_output=True, text=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the knobs")
def test_great_blocks_that_come_again_cost_no_page_faults() -> None:
    pages = 600_000 * 8 * 50 // resource.getpagesize()
    assert faults("keep") < pages / 100 < faults("default")


def test_what_is_there_is_not_looked_at_again() -> None:
    before = gc.get_threshold()
    try:
        settle()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
