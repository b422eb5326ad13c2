"""What server processes cost: their CPU time, read from /proc, and a bare echo server to compare with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")

ECHO = """
import asyncio, sys
import grpc, grpc.aio

async def main():
    answer = bytes(int(sys.argv[1]))
    async def echo(request, context):
        return answer or request
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 1 << 26)])
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Echo", {"Call": handler})])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""
ECHO_METHOD = "/bench.Echo/Call"


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes, their threads included, so far."""
    total = 0
    for pid in pids:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


@contextmanager
def bare_echo(answer_bytes: int = 0) -> Iterator[tuple[str, int]]:
    """A grpc.aio server that takes bytes and gives them back, or gives `answer_bytes` zeros: address and pid."""
    process = subprocess.Popen([sys.executable, "-c", ECHO, str(answer_bytes)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}", process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
