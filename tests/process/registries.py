"""Registries in processes of their own, without gateways and workers."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc

from penstock.rpc.channel import client_options
from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub


class Nursery:
    """Where registries come from: to start each anew would take a second."""

    def __init__(self) -> None:
        line = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def make(self, data_dir: Path) -> Registry:
        """A registry on a folder that no other one uses."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{data_dir}\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        return Registry(pid, json.loads(self._process.stdout.readline())["address"])

    def close(self) -> None:
        """No more."""
        self._process.communicate()


class Registry:
    """A registry in a process of its own."""

    def __init__(self, pid: int, address: str) -> None:
        self.address = address
        self._pid, self._descriptor = pid, os.pidfd_open(pid)
        self.channel = grpc.insecure_channel(address, client_options())
        self.stub: Any = RegistryServiceStub(self.channel)

    def kill(self) -> None:
        """Returns when it is gone."""
        os.kill(self._pid, signal.SIGKILL)
        select.select([self._descriptor], [], [])
        os.close(self._descriptor)

    def models(self) -> list[pb.ModelRecord]:
        watch = self.stub.Watch(pb.WatchRequest())
        try:
            return list(next(watch).models)
        finally:
            watch.cancel()

    def check(self, version: pb.VersionRecord) -> None:
        """Read all files of a version."""
        for file in version.manifest.files:
            found = hashlib.sha256()
            for message in self.stub.FetchFile(pb.FetchFileRequest(sha256=file.sha256)):
                found.update(message.chunk)
            assert found.hexdigest() == file.sha256
