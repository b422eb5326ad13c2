"""What a new version must not get away with: planted errors in real processes, and callers who feel none of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock
from penstock.testing import CommandFailed, Server

from .conftest import Load, load_on

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

SCALE = """
from penstock import Servable, TensorSpec

class Scale(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 4])}
    outputs = {"y": TensorSpec("FP32", ["batch", 4])}

    def predict(self, x):
        v = int(x[0, 0])
        if FAILING:
            raise RuntimeError("planted")
        return {"y": x * FACTOR}
"""
ONE_IN_TWENTY, ALWAYS = "v % 20 == 7", "v > 0"
"""Of the values that `load_on` asks, which fail; 0, with which a worker proves itself, does not."""


def publish(server: Server, folder: Path, *, factor: float = 2.0, failing: str = "False") -> None:
    """The next version of `scale`."""
    path = folder / "next.py"
    path.write_text(SCALE.replace("FACTOR", str(factor)).replace("FAILING", failing))
    server.command("publish", "scale", f"{path}:Scale", "--max-batch-size", "1")


def traffic(server: Server) -> Any:
    """Of `scale@stable`."""
    (found,) = server.command("canary", "scale")
    return found


def split(server: Server, *arguments: str) -> None:
    """Set a split, and wait until the gateway knows."""
    (wanted,) = server.command("split", "scale", *arguments)
    with penstock.Client(server.grpc) as client:
        for change in client.watch_status("scale", timeout=60):
            if any(t.revision >= wanted["revision"] for model in change.models for t in model.traffic):
                return


async def command(server: Server, *arguments: str) -> Any:
    return await asyncio.to_thread(server.command, *arguments)


async def test_a_shadow_that_is_off_by_one_per_cent_is_reported_and_callers_feel_nothing(
    server: Server, tmp_path: Path
) -> None:
    publish(server, tmp_path, factor=2.02)
    async with load_on(server, factor=2) as load:
        await command(server, "shadow", "scale", "2", "--share", "0.5")
        found: dict[str, Any] = {"compared": 0}
        while found["compared"] < 100:
            await load.more(50)
            (found,) = (await command(server, "shadow", "scale"))[0]["comparisons"] or [{"compared": 0}]
    assert not load.failures
    assert not load.wrong
    assert found["disagreed"] == found["compared"] > 0 == found["failed"]
    assert found["relative"] == pytest.approx(0.01, rel=0.05)
    assert (found["version"], found["shadow_version"]) == (1, 2)


async def test_a_shadow_that_always_fails_hurts_nobody(server: Server, tmp_path: Path) -> None:
    publish(server, tmp_path, failing=ALWAYS)
    async with load_on(server, factor=2) as load:
        await command(server, "shadow", "scale", "2")
        failed = 0
        while failed < 100:
            await load.more(50)
            comparisons = (await command(server, "shadow", "scale"))[0]["comparisons"]
            failed = comparisons[0]["failed"] if comparisons else 0
    assert not load.failures
    assert not load.wrong


CANARY = ("canary", "scale", "2", "--steps", "20,50", "--min-requests", "200", "--step-time", "2", "--wait")


async def ended(server: Server, load: Load) -> Any:
    """Begin a canary, and wait until it has ended, under load."""
    try:
        (found,) = await command(server, *CANARY, "--max-latency-ratio", "0")
    except CommandFailed as failed:
        return failed
    return found


async def test_a_canary_that_fails_one_time_in_twenty_is_taken_back_by_itself(server: Server, tmp_path: Path) -> None:
    publish(server, tmp_path, failing=ONE_IN_TWENTY)
    async with load_on(server, factor=2) as load:
        failed = await ended(server, load)
        failures = len(load.failures)
        await load.more(200)
    assert isinstance(failed, CommandFailed)
    assert "was not promoted" in failed.message
    assert not load.wrong
    assert 0 < failures < 0.05 * load.right
    found = traffic(server)
    assert (found["canary"]["state"], found["split"]) == ("ROLLED_BACK", {})
    assert "failed, against 0.00%" in found["canary"]["explanation"]
    assert "canary of scale@stable: roll_back" in server.log()
    (model,) = server.command("status", "scale")
    assert model["aliases"] == {"stable": 1}
    assert "ROLLED_BACK" in str(model["traffic"])


async def test_a_canary_that_does_no_harm_is_promoted(server: Server, tmp_path: Path) -> None:
    publish(server, tmp_path)
    async with load_on(server, factor=2) as load:
        found = await ended(server, load)
    assert not load.failures
    assert not load.wrong
    assert found["canary"]["state"] == "PROMOTED"
    assert server.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')["version"] == 2
    assert server.command("rollback", "scale")["version"] == 1


async def test_a_canary_goes_on_when_registry_and_gateway_are_killed(server: Server, tmp_path: Path) -> None:
    publish(server, tmp_path)
    async with load_on(server, factor=2, retries=5) as load:
        line = ("--steps", "20,50", "--min-requests", "200", "--step-time", "2", "--max-latency-ratio", "0")
        await command(server, "canary", "scale", "2", *line)
        await load.more(500)
        for name in ("registry", "gateway"):
            (pid,) = server.children(name)
            os.kill(pid, signal.SIGKILL)
        await load.more(500)
        async with asyncio.timeout(200):
            while True:
                try:
                    (found,) = await command(server, "canary", "scale")
                except CommandFailed:  # the registry is not back yet
                    await load.more(50)
                    continue
                if found["canary"]["state"] != "RUNNING":
                    break
                await load.more(50)
    assert not load.wrong
    assert found["canary"]["state"] == "PROMOTED"


def test_a_user_meets_one_version_and_a_pin_goes_before(server: Server, tmp_path: Path) -> None:
    publish(server, tmp_path)
    split(server, "1=1", "2=1", "--sticky", "x-user-id")
    x = {"x": np.ones((1, 4), np.float32)}
    met: dict[str, set[int]] = {}
    for user in (f"user-{n}" for n in range(12)):
        for metadata, key in (([("x-user-id", user)], None), ([], user)):
            with penstock.Client(server.grpc, metadata=metadata) as client:
                met.setdefault(user, set()).update(client.predict("scale", x, split_key=key).version for _ in range(2))
    assert all(len(versions) == 1 for versions in met.values())
    assert set().union(*met.values()) == {1, 2}
    with penstock.Client(server.grpc, metadata=[("x-penstock-version", "2")]) as client:
        assert {client.predict("scale", x).version for _ in range(10)} == {2}
    split(server, "--off")
    with penstock.Client(server.grpc) as client:
        assert {client.predict("scale", x).version for _ in range(10)} == {1}


async def test_a_client_that_coalesces_sends_a_key_with_each_question(server: Server, tmp_path: Path) -> None:
    publish(server, tmp_path)
    await asyncio.to_thread(split, server, "1=1", "2=1")
    x = {"x": np.ones((1, 4), np.float32)}
    users = [f"user-{n % 12}" for n in range(48)]
    async with penstock.AsyncClient(server.grpc, coalesce=True) as client:
        answers = await asyncio.gather(*(client.predict("scale", x, split_key=user) for user in users))
        alone = [await client.predict("scale", x, split_key=user, request_id=f"id-{n}") for n, user in enumerate(users)]
    met = {(user, answer.version) for user, answer in zip(users, answers, strict=True)}
    assert len(met) == 12
    assert {version for _, version in met} == {1, 2}
    assert [a.version for a in answers] == [a.version for a in alone]


@pytest.mark.parametrize("arguments", [("2",), ("2=0",), ("2=x",), ("9=1",)])
def test_what_is_no_split_is_refused_with_a_reason(shared: Server, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandFailed, match=r"VERSION=WEIGHT|weight|version 9") as failed:
        shared.command("split", "scale", *arguments)
    assert "Traceback" not in failed.value.message
