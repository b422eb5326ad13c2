"""Which versions are loaded, against a real `penstock up`: policies, rollbacks, loads that fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock
from penstock.client import ModelStatus
from penstock.testing import CommandFailed, Server, running

from .conftest import load_on, write_scale

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "data") as server:
        yield server


def publish(server: Server, folder: Path, factor: int, *options: str) -> Any:
    return server.command("publish", "scale", write_scale(folder, factor), *options)


def until(server: Server, holds: Callable[[ModelStatus], bool]) -> ModelStatus:
    """Wait until `scale` is like this."""
    with penstock.Client(server.grpc) as client:
        for change in client.watch_status("scale", timeout=120):
            for model in change.models:
                if holds(model):
                    return model
    raise AssertionError("the watch ended")


def complaint(server: Server, *arguments: str) -> str:
    """What a command that goes well says on stderr."""
    line = [sys.executable, "-m", "penstock", *arguments, "--address", server.grpc]
    return subprocess.run(line, capture_output=True, text=True, check=True).stderr


def states(model: ModelStatus) -> dict[int, str]:
    return {version.version: version.state for version in reversed(model.versions)}


def test_a_policy_decides_which_versions_are_loaded_and_how_often(server: Server, tmp_path: Path) -> None:
    for factor in (1, 2, 3):
        publish(server, tmp_path, factor)
    until(server, lambda model: states(model) == {1: "AVAILABLE", 2: "END", 3: "AVAILABLE"})
    server.command("policy", "scale", "--latest", "2")
    until(server, lambda model: states(model) == {1: "AVAILABLE", 2: "AVAILABLE", 3: "AVAILABLE"})
    shown = server.command("policy", "scale", "--versions", "1", "--keep-warm", "0")
    assert (shown["versions"], shown["keep_warm"]) == ("1", 0)
    until(server, lambda model: states(model) == {1: "AVAILABLE", 2: "END", 3: "END"})
    stored = publish(server, tmp_path, 4)  # returns at once: the policy does not load it
    assert stored["version"] == 4
    server.command("deploy", "scale", "--instances", "2")
    until(server, lambda model: [len(v.instances) for v in model.versions] == [0, 0, 0, 2])
    assert server.command("policy", "scale") == shown | {"instances": 2}
    log = [(entry["action"], entry["outcome"]) for entry in server.command("audit", "scale", "--since", "1h")]
    assert log[:2] == [("Deploy", "DONE"), ("Publish", "DONE")]
    assert ("SetPolicy", "DONE") in log


def test_a_rollback_is_instant_while_the_version_is_warm_and_else_says_that_it_loads_first(
    server: Server, tmp_path: Path
) -> None:
    publish(server, tmp_path, 1)
    publish(server, tmp_path, 2, "--alias", "stable")
    [_, old] = server.command("status", "scale")[0]["versions"]
    assert (old["state"], old["warm_until"] is not None) == ("AVAILABLE", True)
    assert server.command("rollback", "scale")["version"] == 1
    server.command("alias", "scale", "stable", "2")
    server.command("policy", "scale", "--keep-warm", "0")
    until(server, lambda model: states(model) == {1: "END", 2: "AVAILABLE"})
    assert complaint(server, "rollback", "scale") == "version 1 of scale is not loaded: loading it first\n"
    assert server.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')["version"] == 1


BROKEN = """
from penstock import Servable, TensorSpec

class Scale(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 4])}
    outputs = {"y": TensorSpec("FP32", ["batch", 4])}

    def load(self):
        FAIL

    def predict(self, x):
        return {"y": x}
"""


@pytest.mark.parametrize("how", ["raise ValueError('no weights here')", "import os; os._exit(7)"])
async def test_a_version_that_does_not_load_is_tried_again_with_its_reason_while_the_old_one_answers(
    server: Server, tmp_path: Path, how: str
) -> None:
    publish(server, tmp_path, 2)
    (tmp_path / "broken.py").write_text(BROKEN.replace("FAIL", how))
    reason = "no weights here" if "raise" in how else "its worker ended with status 7 while loading"
    async with load_on(server, callers=4) as load:
        source = f"{tmp_path / 'broken.py'}:Scale"
        with pytest.raises(CommandFailed, match=reason):
            await asyncio.to_thread(server.command, "publish", "scale", source, "--alias", "stable")
        tried = f"{reason}; 2 loads in a row have failed, the next begins at "
        await asyncio.to_thread(until, server, lambda model: tried in model.versions[0].reason)
        await load.more(100)
    assert (load.failures, load.wrong) == ([], 0)
    assert server.command("status", "scale")[0]["aliases"] == {"stable": 1}


def test_without_room_for_two_a_version_is_refused_or_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_MAX_LOADED", "1")
    with running(tmp_path / "data") as server:
        publish(server, tmp_path, 1)
        with pytest.raises(CommandFailed, match=r"MEMORY_BUDGET_EXCEEDED.*2 versions would be loaded"):
            publish(server, tmp_path, 2)
        server.command("policy", "scale", "--resource-preserving")
        assert publish(server, tmp_path, 2)["version"] == 2  # stored: what callers get has not changed
        assert server.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')["version"] == 1
        said = complaint(server, "alias", "scale", "stable", "2")
        assert "version 2 of scale: it waits until scale:1 is unloaded" in said
        assert server.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')["version"] == 2
        status = server.command("status", "scale")[0]["versions"]
        assert [len(version["instances"]) for version in status] == [1, 0]
        assert "scale:1 is not loaded: the memory budget has no room" in server.log()


def test_a_version_that_fails_in_the_place_of_the_old_one_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_MAX_LOADED", "1")
    with running(tmp_path / "data") as server:
        publish(server, tmp_path, 1)
        server.command("policy", "scale", "--resource-preserving")
        (tmp_path / "broken.py").write_text(BROKEN.replace("FAIL", "raise ValueError('no weights here')"))
        server.command("publish", "scale", f"{tmp_path / 'broken.py'}:Scale")
        with pytest.raises(CommandFailed, match="no weights here"):
            server.command("alias", "scale", "stable", "2")
        model = until(server, lambda model: states(model) == {1: "AVAILABLE", 2: "END"})
        assert "no weights here" in model.versions[0].reason
        assert server.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')["version"] == 1


def test_lazy_models_are_loaded_when_asked_for_and_make_room_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_MAX_LOADED", "2")
    with running(tmp_path / "data") as server:
        for number, name in enumerate("abc", 1):
            source = write_scale(tmp_path, number, name)
            assert server.command("publish", name, source, "--lazy")["version"] == 1
        assert server.children("worker") == [] or len(server.children("worker")) == 1  # the spare
        with penstock.Client(server.grpc, timeout=60) as client:
            x = np.ones((1, 4), np.float32)
            for number, name in enumerate("abcab", 1):
                assert client.predict(name, {"x": x})["y"][0, 0] == (number - 1) % 3 + 1
            client.predict("a", {"x": x})
            loaded = {m.name: m.versions[0].state for m in client.status()}
            assert (loaded["a"], loaded["b"]) == ("AVAILABLE", "AVAILABLE")
            with pytest.raises(penstock.errors.ModelLoading):
                client.predict("c", {"x": x}, timeout=0.4)
        server.command("policy", "b", "--idle", "5")
        with penstock.Client(server.grpc) as client:
            asleep = next(
                model.versions[0]
                for change in client.watch_status("b", timeout=60)
                for model in change.models
                if model.versions[0].state == "END"
            )
        assert asleep.reason == "loaded when it is asked for"
