"""Change what is served, under load, and count what callers see. One JSON document on stdout; status 0 if all is well.

cd scripts && python -m rollouts --swaps 100 --rollbacks 20 --requests 50000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from penstock.testing import Server, running

from .churn import churn
from .crowd import crowd
from .many import many
from .scenes import Figures, bad_versions, overtaken, swaps

Scene = Callable[[Server, Path], Awaitable[Figures]]


def main() -> int:
    """Run the scenes that are asked for, each on a fresh server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=0, help="new versions one after the other")
    parser.add_argument("--rollbacks", type=int, default=0, help="so many of them are rolled back and forth")
    parser.add_argument("--requests", type=int, default=1000, help="at least so many while that happens")
    parser.add_argument("--overtaken", type=int, default=0, help="rollbacks while a version is rolled out")
    parser.add_argument("--bad", type=int, default=0, help="versions that raise when they are warmed up")
    parser.add_argument("--churn", type=int, default=0, help="loads and unloads by each of --callers")
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--models", type=int, default=0, help="lazy models that are registered")
    parser.add_argument("--loaded", type=int, default=10, help="so many of them are used")
    parser.add_argument("--crowd", type=float, default=0.0, help="seconds with more lazy models in use than have room")
    asked = parser.parse_args()
    scenes: dict[str, tuple[int, Scene]] = {
        "swaps": (asked.swaps, lambda s, f: swaps(s, f, asked.swaps, asked.rollbacks, asked.requests)),
        "overtaken": (asked.overtaken, lambda s, f: overtaken(s, f, asked.overtaken)),
        "bad": (asked.bad, lambda s, f: bad_versions(s, f, asked.bad)),
        "churn": (asked.churn, lambda s, f: churn(s, f, asked.callers, asked.churn)),
    }
    found = {name: _played(scene) for name, (times, scene) in scenes.items() if times}
    if asked.crowd:
        with tempfile.TemporaryDirectory(prefix="rollouts-") as folder:
            found["crowd"] = crowd(Path(folder), asked.crowd)
    if asked.models:
        with tempfile.TemporaryDirectory(prefix="rollouts-") as folder:
            found["many"] = many(Path(folder), asked.models, asked.loaded)
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0 if all(figures["ok"] for figures in found.values()) else 1


def _played(scene: Scene) -> Figures:
    with tempfile.TemporaryDirectory(prefix="rollouts-") as folder, running(Path(folder) / "data") as server:
        return asyncio.run(_run(scene, server, Path(folder)))


async def _run(scene: Scene, server: Server, folder: Path) -> Figures:
    return await scene(server, folder)


if __name__ == "__main__":
    sys.exit(main())
