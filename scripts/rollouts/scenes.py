"""The changes that are made under load. Each scene returns its figures, among them whether all was as it must be."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random
from typing import Any

from penstock.testing import CommandFailed, Server

from .callers import MODEL, Timeline, load_on, publish, write_version

WARM_S = 10
BOUND_S = 10.0
"""Within so long an alias that is turned back while a new version is rolled out must mean what was wanted."""
BAD = """
from penstock import Servable, TensorSpec

class Affine(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 4])}
    outputs = {"y": TensorSpec("FP32", ["batch", 4])}

    def predict(self, x):
        raise RuntimeError("the weights are torn")
"""

Figures = dict[str, Any]


async def swaps(server: Server, folder: Path, swaps: int, rollbacks: int, requests: int) -> Figures:
    """New versions one after the other, each of which `stable` then means; some are rolled back at once."""
    publish(server, folder, 1)
    server.command("policy", MODEL, "--keep-warm", str(WARM_S))
    line, done, back, slowest = Timeline(1), 0, 0, 0.0
    async with load_on(server, line) as ledger:
        for number in range(2, swaps + 2):
            await _moved(line, number, server, "publish", MODEL, write_version(folder, number), f"--version={number}")
            done += 1
            if back < rollbacks * done // swaps:
                began = time.monotonic()
                await _moved(line, number - 1, server, "rollback", MODEL)
                await ledger.until_answered_by(number - 1, began)
                slowest = max(slowest, time.monotonic() - began)
                back += 1
                await asyncio.sleep(0.5)
                await _moved(line, number, server, "alias", MODEL, "stable", str(number))
        await ledger.until(requests)
    ok = ledger.is_clean and ledger.asked >= requests
    return {"swaps": done, "rollbacks": back, "slowest rollback s": round(slowest, 2), **ledger.figures(), "ok": ok}


async def _moved(line: Timeline, version: int, server: Server, *command: str) -> None:
    """A command that makes `stable` mean the version."""
    line.moving(version)
    alias = ("--alias=stable",) if command[0] == "publish" else ()
    await asyncio.to_thread(server.command, *command, *alias)
    line.moved(version)


async def overtaken(server: Server, folder: Path, times: int, seed: int = 0) -> Figures:
    """Somebody turns `stable` back while somebody else rolls out the next version: the last word counts."""
    random, slowest, wrong = Random(seed), 0.0, 0
    for number in (1, 2):
        publish(server, folder, number, *(("--alias=stable",) if number == 2 else ()))
    server.command("policy", MODEL, "--keep-warm", str(2 * WARM_S))
    line = Timeline(2)
    async with load_on(server, line) as ledger:
        for number in range(3, times + 3):
            line.moving(number)
            rollout = asyncio.create_task(_attempt(server, *_rollout(folder, number)))
            await asyncio.sleep(random.uniform(0.5, 4.0))
            for known in range(1, number):
                line.moving(known)  # what it will be turned back to is not known
            wanted = await _turned_back(server)
            began = time.monotonic()
            await ledger.until_answered_by(wanted, began)
            slowest = max(slowest, time.monotonic() - began)
            line.moved(wanted)
            await rollout
            status = await asyncio.to_thread(server.command, "status", MODEL)
            wrong += status[0]["aliases"]["stable"] != wanted
    ok = ledger.is_clean and not wrong and slowest <= BOUND_S
    return {"times": times, "slowest s": round(slowest, 2), "ended wrong": wrong, **ledger.figures(), "ok": ok}


def _rollout(folder: Path, number: int) -> tuple[str, ...]:
    return ("publish", MODEL, write_version(folder, number), f"--version={number}", "--alias=stable")


async def _attempt(server: Server, *command: str) -> str:
    """A command that may find that somebody else has moved the alias; what it says then."""
    try:
        await asyncio.to_thread(server.command, *command)
    except CommandFailed as failed:
        if "CONFLICT" not in failed.message:
            raise
        return failed.message
    return ""


async def _turned_back(server: Server) -> int:
    """Roll back; who finds that the alias has just moved looks again. What it means then."""
    while await _attempt(server, "rollback", MODEL):
        pass
    status = await asyncio.to_thread(server.command, "status", MODEL)
    return int(status[0]["aliases"]["stable"])


async def bad_versions(server: Server, folder: Path, times: int) -> Figures:
    """Versions that raise when they are warmed up: the old one goes on, and the reason is told."""
    publish(server, folder, 1)
    line, told = Timeline(1), 0
    path = folder / "bad.py"
    path.write_text(BAD)
    async with load_on(server, line) as ledger:
        for number in range(2, times + 2):
            command = ("publish", MODEL, f"{path}:Affine", f"--version={number}", "--alias=stable")
            try:
                await asyncio.to_thread(server.command, *command)
            except CommandFailed as failed:
                told += "cannot answer" in failed.message
        status = await asyncio.to_thread(server.command, "status", MODEL)
    ok = ledger.is_clean and told == times and status[0]["aliases"] == {"stable": 1}
    return {"bad versions": times, "told why": told, **ledger.figures(), "ok": ok}
