"""The bare server to compare with: grpc.aio that takes bytes and gives bytes, and nothing else.

python -m bench.echo ANSWER_BYTES LOOP          (0: the request itself; LOOP: asyncio or uvloop)
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

METHOD = "/bench.Echo/Call"


async def _serve(answer_bytes: int) -> None:
    answer = bytes(answer_bytes)

    async def echo(request: bytes, context: Any) -> bytes:
        return answer or request

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 1 << 26)])
    methods: dict[str, Any] = {"Call": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Echo", methods)])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


@contextmanager
def bare_echo(answer_bytes: int = 0, loop: str = "asyncio") -> Iterator[tuple[str, int]]:
    """A running one: its address and its process id."""
    line = [sys.executable, "-m", "bench.echo", str(answer_bytes), loop]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}", process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _main() -> None:
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(_serve(int(sys.argv[1])))
    else:
        asyncio.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    _main()
