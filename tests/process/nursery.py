"""Makes registries that are to be killed: has imported all that they need, forks for each folder named on its input.

A line with the process's id comes first, then the one with which it says that it is ready.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from penstock.registry.serve import RegistryConfig, serve
from penstock.rpc.lifecycle import READY_FD, Stop


def main() -> None:
    """Until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    for line in sys.stdin:
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            os.environ[READY_FD] = str(os.dup(1))
            asyncio.run(serve(RegistryConfig(Path(line.strip()), port=0, gc_interval=0), Stop()))
            os._exit(0)


if __name__ == "__main__":
    main()
