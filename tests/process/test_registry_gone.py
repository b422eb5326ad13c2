"""The registry killed, frozen, emptied, without room on its disk: what callers see of it is nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.testing import CommandFailed, Part, Parts, Server, parts
from penstock.v1 import registry_pb2 as pb
from penstock.v1.model_pb2 import MODEL_STATE_AVAILABLE

from .conftest import load_at, load_on, write_scale

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

REGISTRY_UNAVAILABLE = "REGISTRY_UNAVAILABLE"


def registry_pid(server: Server) -> int:
    (pid,) = server.children("registry")
    return pid


def workers(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.command("status", "scale")[0]["versions"][0]["instances"]
    return found


async def changed(server: Server, number: int) -> None:
    """Wait until a change can be made; each number is another change."""
    await until_accepted(server.command, "key", "create", f"somebody-{number}", "--scope", "admin")


async def until_accepted(command: Callable[..., Any], *arguments: str) -> None:
    """Repeat a command that fails while the registry cannot be reached; it may fail in no other way."""
    while True:
        with contextlib.suppress(Away):
            await asyncio.to_thread(_tried, command, *arguments)
            return


class Away(Exception):
    """The registry cannot be reached."""


def _tried(command: Callable[..., Any], *arguments: str) -> None:
    try:
        command(*arguments)
    except CommandFailed as error:
        if REGISTRY_UNAVAILABLE not in error.message:
            raise
        raise Away from error


async def shown(server: Server, *, held: bool) -> list[dict[str, Any]]:
    """Wait until the status says so of all workers."""
    while True:
        found = await asyncio.to_thread(workers, server)
        if found and all(worker["held_back"] is held for worker in found):
            return found


async def test_a_frozen_registry_costs_no_prediction_and_changes_are_refused_until_it_thaws(server: Server) -> None:
    before = workers(server)
    async with load_on(server) as load:
        pid = registry_pid(server)
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                with pytest.raises(CommandFailed, match=REGISTRY_UNAVAILABLE):
                    await asyncio.to_thread(server.command, "key", "create", "ann", "--scope", "admin")
                await load.more(500)
        finally:
            os.kill(pid, signal.SIGCONT)
        await changed(server, 1)
        await load.more(500)
    assert (load.failures, load.wrong) == ([], 0)
    assert {worker["pid"] for worker in workers(server)} == {worker["pid"] for worker in before}


async def test_an_emptied_registry_costs_no_prediction_and_no_worker_and_its_data_can_come_back(
    server: Server, tmp_path: Path
) -> None:
    before = workers(server)
    async with load_on(server) as load:
        _exchange_data(server, tmp_path / "away", None)
        found = await shown(server, held=True)
        await load.more(1000)
        assert {worker["pid"] for worker in found} == {worker["pid"] for worker in before}
        _exchange_data(server, tmp_path / "empty", tmp_path / "away")
        await shown(server, held=False)
        await changed(server, 1)
        await load.more(500)
    assert (load.failures, load.wrong) == ([], 0)
    assert {worker["pid"] for worker in workers(server)} == {worker["pid"] for worker in before}
    assert "no longer lists 1 workers that answer (of scale)" in server.log()


def _exchange_data(server: Server, away: Path, back: Path | None) -> None:
    """Move the registry's data away, and other data in its place, while it is dead; the supervisor starts it again."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        pid = registry_pid(server)
        os.kill(pid, signal.SIGKILL)
        away.mkdir()
        for path in server.data_dir.glob("registry.db*"):
            shutil.move(path, away / path.name)
        for path in back.iterdir() if back else ():
            shutil.move(path, server.data_dir / path.name)
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def test_when_an_operator_confirms_an_emptied_registry_the_old_workers_end(
    server: Server, tmp_path: Path
) -> None:
    (old,) = workers(server)
    _exchange_data(server, tmp_path / "away", None)
    await shown(server, held=True)
    assert server.command("confirm-removal")["workers"] == [old["worker"]]
    async with penstock.AsyncClient(server.grpc) as client:
        async for _ in client.watch_status():
            if not await client.status():
                break
    while server.children("worker") and old["pid"] in server.children("worker"):
        await asyncio.to_thread(server.command, "status")
    server.command("publish", "scale", write_scale(tmp_path, 3, name="other"))
    async with load_on(server, factor=3) as load:
        await load.more(100)
    assert (load.failures, load.wrong) == ([], 0)


async def test_a_worker_of_another_content_is_not_taken_for_the_version_that_is_published_anew(
    server: Server, tmp_path: Path
) -> None:
    _exchange_data(server, tmp_path / "away", None)
    await shown(server, held=True)
    server.command("publish", "scale", write_scale(tmp_path, 3, name="other"), "--no-wait")
    async with load_on(server) as load:  # which is still the old version's answer
        await load.more(200)
    assert (load.failures, load.wrong) == ([], 0)
    server.command("confirm-removal")
    async with load_on(server, factor=3, retries=20) as load:
        await load.more(100)
    assert load.wrong == 0


# Each process on its own


class Apart:
    """A registry, a gateway and a worker of `scale`, on their own."""

    def __init__(self, made: Parts, registry_dir: Path, *registry_flags: str) -> None:
        self.parts = made
        self.registry_flags = (f"--data-dir={registry_dir}", *registry_flags)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.registry = self.start_registry()
        self.gateway = self.start_gateway()
        made.command(self.gateway.address, "publish", "scale", write_scale(made.folder, 2), "--no-wait")
        flags = ("--name=scale", "--version=1", f"--data-dir={made.folder}/worker")
        self.worker = made.start("worker", *flags, f"--registry=127.0.0.1:{self.port}")

    def start_registry(self) -> Part:
        return self.parts.start("registry", *self.registry_flags, f"--registry-port={self.port}")

    def start_gateway(self) -> Part:
        flags = (f"--data-dir={self.parts.folder}/gateway", f"--registry=127.0.0.1:{self.port}")
        return self.parts.start("gateway", *flags, "--grpc-port=0", "--http-port=0")

    def is_known_on_disk(self) -> bool:
        """Whether the gateway has written down that the model is served."""
        content = (self.parts.folder / "gateway/registry-snapshot.pb").read_bytes()
        state = pb.WatchResponse.FromString(content[32:])
        return any(version.state == MODEL_STATE_AVAILABLE for model in state.models for version in model.versions)

    def load(self, **more: Any) -> Any:
        return load_at(self.gateway.address, **more)


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    with parts(tmp_path / "apart") as made:
        yield Apart(made, made.folder / "registry")


async def test_while_the_registry_is_dead_predictions_go_on_and_so_they_do_after_a_restart_of_the_gateway(
    apart: Apart,
) -> None:
    async with apart.load() as load:
        apart.registry.kill()
        await load.more(1000)
        while not apart.is_known_on_disk():
            await load.more(10)
    assert (load.failures, load.wrong) == ([], 0)
    apart.gateway.kill()
    apart.gateway = apart.start_gateway()
    async with apart.load(retries=20) as load:
        await load.more(300)
        with pytest.raises(CommandFailed, match=REGISTRY_UNAVAILABLE):
            await asyncio.to_thread(apart.parts.command, apart.gateway.address, "undeploy", "scale")
        apart.registry = await asyncio.to_thread(apart.start_registry)
        await _undeployed(apart)
    assert load.wrong == 0
    assert {type(error) for error in load.failures} <= {penstock.errors.ModelNotDeployed}


async def _undeployed(apart: Apart) -> None:
    """The change that was refused is made, and everybody hears of it."""
    await until_accepted(apart.parts.command, apart.gateway.address, "undeploy", "scale")
    async with penstock.AsyncClient(apart.gateway.address) as client:
        async for change in client.watch_status("scale"):
            if any(version.desired_instances == 0 for model in change.models for version in model.versions):
                return


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


async def test_a_full_disk_refuses_changes_and_nothing_else_until_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    with parts(tmp_path / "apart") as made:
        settings = tmp_path / "penstock.toml"
        settings.write_text("min_free_bytes = 0\n")  # what it keeps free is more than the whole disk
        apart = Apart(made, small_disk / "registry", f"--config={settings}")
        async with apart.load() as load:
            filler = small_disk / "filler"
            with pytest.raises(OSError, match="No space left"):
                _fill(filler)
            with pytest.raises(CommandFailed, match="STORAGE_FULL"):
                await asyncio.to_thread(_until_refused, apart)
            await load.more(500)
            filler.unlink()
            key = await asyncio.to_thread(made.command, apart.gateway.address, "key", "create", "x", "--scope", "admin")
            await load.more(100)
        assert (load.failures, load.wrong) == ([], 0)
        apart.registry.kill()
        apart.registry = apart.start_registry()
        keys = made.command(apart.registry.address, "key", "list")
        assert key["key_id"] in {row["key_id"] for row in keys}


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _until_refused(apart: Apart) -> None:
    """Write until the pages that the store has in reserve are used up."""
    for number in range(10_000):
        apart.parts.command(apart.gateway.address, "key", "create", f"k{number}", "--scope", "admin")
