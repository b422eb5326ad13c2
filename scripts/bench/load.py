"""Closed-loop load in a process of its own: so many calls of the same bytes are always in flight."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc.aio

CONNECTIONS = 4


@dataclass(frozen=True)
class Result:
    """What the callers saw."""

    answers: int
    failures: int
    seconds: float
    p50_ms: float
    p99_ms: float


async def _run(address: str, method: str, request: bytes, concurrency: int, seconds: float) -> Result:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", 1 << 26)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(min(CONNECTIONS, concurrency))]
    times: list[float] = []
    failures = 0
    end = time.perf_counter() + seconds

    async def call(channel: grpc.aio.Channel) -> None:
        nonlocal failures
        send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        while (began := time.perf_counter()) < end:
            try:
                await send(request, timeout=30)
                times.append(time.perf_counter() - began)
            except grpc.aio.AioRpcError:
                failures += 1

    began = time.perf_counter()
    await asyncio.gather(*(call(channels[i % len(channels)]) for i in range(concurrency)))
    took = time.perf_counter() - began
    for channel in channels:
        await channel.close()
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 if times else 0.0 for share in (0.5, 0.99))
    return Result(len(times), failures, took, p50, p99)


def load(address: str, method: str, request: bytes, concurrency: int, seconds: float, folder: Path) -> Result:
    """Run it in another process, so that the caller's interpreter does not slow it down."""
    (folder / "request.bin").write_bytes(request)
    line = [
        sys.executable,
        "-m",
        "bench.load",
        address,
        method,
        str(folder / "request.bin"),
        str(concurrency),
        str(seconds),
    ]
    return Result(**json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout))


if __name__ == "__main__":
    body = Path(sys.argv[3]).read_bytes()
    print(json.dumps(asdict(asyncio.run(_run(sys.argv[1], sys.argv[2], body, int(sys.argv[4]), float(sys.argv[5]))))))
