"""A model that its worker compiles: what `status` says of it, and that a second worker finds it compiled."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock
from penstock.client import InstanceStatus
from penstock.testing import Server, running

from ..digits import Compiled, answers, save_golden, scans

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


async def test_the_fastest_is_chosen_told_and_chosen_again_by_a_worker_that_follows(
    compiled_digits: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_THREADS", "1")
    compiled_digits.copy_cache(tmp_path / "data" / "cache" / ".compiled")
    images = scans()[0][:40]
    golden = save_golden(compiled_digits.model, images, tmp_path / "golden.npz")
    with running(tmp_path / "data") as server:
        options = ("--optimize", "auto", "--golden", str(golden), "--max-batch-size", "16", "--timeout", "500")
        server.command("publish", "digits", str(compiled_digits.program), *options)
        first = _instance(server)
        assert [one["name"] for one in first["optimized"]["candidates"]] == ["plain", "compile", "aot"]
        assert [one["problem"] for one in first["optimized"]["candidates"]] == ["", "", ""]
        assert [list(one["seconds"]) for one in first["optimized"]["candidates"]] == [["1", "4", "16"]] * 3
        assert first["optimized"]["chosen"] in ("plain", "compile", "aot")  # which one it is, is the host's to say
        os.kill(first["pid"], signal.SIGKILL)
        async with penstock.AsyncClient(server.grpc, timeout=120, retries=20) as client:
            second = await _until_another(client, first["pid"])
            answer = await client.predict("digits", {"image": images})
        np.testing.assert_allclose(
            answer["scores"], answers(compiled_digits.model, images)["scores"], rtol=1e-3, atol=1e-4
        )
        assert second.optimized is not None
        assert [one.problem for one in second.optimized.candidates] == ["", "", ""]
    [place] = [path for path in (tmp_path / "data" / "cache" / ".compiled").iterdir() if path.is_dir()]
    [before] = [path for path in compiled_digits.cache.iterdir() if path.is_dir()]
    assert place.name == before.name  # nobody compiled anything else


def _instance(server: Server) -> dict[str, Any]:
    [instance] = server.command("status", "digits")[0]["versions"][0]["instances"]
    return instance  # type: ignore[no-any-return]


async def _until_another(client: penstock.AsyncClient, pid: int) -> InstanceStatus:
    """A worker that took the place of one that was killed."""
    async for change in client.watch_status("digits", timeout=400):
        every = [one for model in change.models for version in model.versions for one in version.instances]
        for one in every:
            if one.state == "AVAILABLE" and one.pid != pid:
                return one
    raise AssertionError("the watch ended")
