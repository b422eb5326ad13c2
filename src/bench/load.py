"""Run a plan in processes of its own, and put together what they saw."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from ..errors import Internal, Unavailable
from .generator import EXIT_UNREACHABLE
from .plan import Plan
from .samples import Samples, merge

_TICK = 0.2


def run(plan: Plan, processes: int = 1, on_tick: Callable[[], None] = lambda: None) -> Samples:
    """Make the load of a plan, and wait for it.

    Args:
        plan: what to do.
        processes: among how many generators the load is shared out.
        on_tick: called several times a second meanwhile.

    Raises:
        Unavailable: nobody answers at the address.
        ValueError: fewer requests in flight than generators.
    """
    parts = plan.split(processes)
    with ThreadPoolExecutor(processes) as threads:
        running = [threads.submit(_run_one, part) for part in parts]
        while wait(running, _TICK).not_done:
            on_tick()
        return merge([one.result() for one in running])


def _run_one(plan: Plan) -> Samples:
    line = [sys.executable, "-m", "penstock.bench.generator"]
    done = subprocess.run(line, input=plan.to_json(), capture_output=True, text=True)
    if done.returncode == EXIT_UNREACHABLE:
        raise Unavailable(f"nobody answers at {plan.address}")
    if done.returncode:
        raise Internal(f"the load generator ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return Samples.from_json(done.stdout)
