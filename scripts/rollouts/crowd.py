"""More lazy models in use than there is room for: each load is at another's cost, and no request fails."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import penstock
from penstock.testing import Server, running

from .callers import SOURCE

MODELS, ROOM = 3, 2
TIMEOUT_S = 60.0
PAUSE_S = 0.02


def crowd(folder: Path, seconds: float) -> dict[str, Any]:
    """Callers who never stop, each of one model for a while, then of another one."""
    settings = folder / "penstock.toml"
    settings.write_text(f"max_loaded = {ROOM}\n")
    with running(folder / "data", f"--config={settings}") as server:
        for number in range(MODELS):
            path = folder / f"lazy_{number}.py"
            path.write_text(SOURCE.replace("OFFSET", str(number)))
            server.command("publish", f"lazy{number}", f"{path}:Affine", "--lazy")
        return asyncio.run(_crowd(server, seconds))


async def _crowd(server: Server, seconds: float) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    until = time.monotonic() + seconds

    async def ask(client: penstock.AsyncClient, random: Random) -> None:
        nonlocal slowest
        while time.monotonic() < until:
            number = random.randrange(MODELS)
            for _ in range(random.randint(1, 100)):
                began = time.monotonic()
                outcomes[await _outcome(client, number)] += 1
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(PAUSE_S)

    async with (
        penstock.AsyncClient(server.grpc, timeout=TIMEOUT_S, retries=0) as client,
        asyncio.TaskGroup() as group,
    ):
        for caller in range(2 * MODELS):
            group.create_task(ask(client, Random(caller)))
    right = outcomes.pop("right", 0)
    loads = server.log().count("started worker lazy")
    return {
        "requests": right + outcomes.total(),
        "right": right,
        "failures": dict(outcomes.most_common(5)),
        "loads": loads,
        "slowest s": round(slowest, 1),
        "ok": right > 0 and not outcomes and loads > MODELS,
    }


async def _outcome(client: penstock.AsyncClient, number: int) -> str:
    x = np.ones((1, 4), np.float32)
    try:
        answer = await client.predict(f"lazy{number}", {"x": x})
    except penstock.errors.PenstockError as error:
        return str(error)
    return "right" if np.array_equal(answer["y"], x * 3 + number) else "wrong"
