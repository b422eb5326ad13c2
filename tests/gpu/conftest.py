"""Tests that need a CUDA device are skipped where there is none, and say so."""

from __future__ import annotations

import pytest
import torch

WITHOUT = "this host has no CUDA device: run these tests on one that has (pytest -m gpu)"


@pytest.fixture(autouse=True)
def _needs_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip(WITHOUT)
