"""A server that has children: they become the programs that they were started as."""

from __future__ import annotations

import subprocess
import sys

import pytest

from penstock.testing import Server

pytestmark = pytest.mark.process

PARENT = """
import penstock.__main__  # before grpc, as every server does
import asyncio, sys
from grpc_health.v1 import health_pb2, health_pb2_grpc
from penstock.rpc.channel import connect
from penstock.rpc.lifecycle import run
from penstock.supervisor.child import Child

async def watch(call):
    async for _ in call:
        pass

async def main(stop):
    async with connect(sys.argv[1]) as channel:
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        watching = asyncio.create_task(watch(call))
        await channel.channel_ready()
        for _ in range(120):
            child = await Child.start("true", [], {}, ["true"])
            print(await child.wait())
        watching.cancel()
    return 0

sys.exit(run(main))
"""


def test_no_child_is_ended_by_grpc_before_it_has_become_its_program(shared: Server) -> None:
    done = subprocess.run([sys.executable, "-c", PARENT, shared.grpc], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0"] * 120, done.stderr
