"""As much of a registry as a worker needs, on a unix socket."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from penstock import errors
from penstock.rpc.call import Call
from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

TTL = 0.3
"""Seconds: leases are renewed every 0.1 s."""


class FakeRegistry:
    """Has one version, `scale` 1; keeps all that it is told. Other methods are refused as a bug."""

    def __init__(self) -> None:
        self.manifest = model_pb2.Manifest(name="scale", version=1, format="python", entry="scale.py:Scale")
        self.contents: dict[str, bytes] = {}
        self.reports: list[pb.ReportLoadRequest] = []
        self.registered: list[pb.RegisterWorkerRequest] = []
        self.renewals: list[pb.RenewLeaseRequest] = []
        self.revoked: list[str] = []
        self.fetched = 0
        self.damaged = 0
        """How many of the next files come with another content."""
        self.epoch = 40
        self.fenced = False
        self.drain = False
        self.away = False
        self._changed = asyncio.Condition()

    def publish(self, path: str, content: bytes, *, digest: str = "") -> None:
        sha256 = digest or hashlib.sha256(content).hexdigest()
        self.manifest.files.add(path=path, size=len(content), sha256=sha256)
        self.contents[sha256] = content

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was heard is so."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(condition)

    async def _note(self, heard: list[Any], what: Any) -> None:
        async with self._changed:
            heard.append(what)
            self._changed.notify_all()

    def __getattr__(self, name: str) -> Any:
        async def refuse(request: object, call: Call) -> None:
            raise AssertionError(f"workers do not call {call.method}")

        return refuse

    async def watch(self, request: pb.WatchRequest, call: Call) -> AsyncIterator[pb.WatchResponse]:
        record = pb.ModelRecord(name=self.manifest.name, versions=[pb.VersionRecord(manifest=self.manifest)])
        yield pb.WatchResponse(revision=1, snapshot=True, models=[record])
        await asyncio.Event().wait()

    async def fetch_file(self, request: pb.FetchFileRequest, call: Call) -> AsyncIterator[pb.FetchFileResponse]:
        self.fetched += 1
        content = self.contents[request.sha256]
        if self.damaged:
            self.damaged -= 1
            content = content[::-1]
        step = max(100, len(content) // 100)
        for at in range(0, len(content), step):
            yield pb.FetchFileResponse(chunk=content[at : at + step])

    async def report_load(self, request: pb.ReportLoadRequest, call: Call) -> pb.ReportLoadResponse:
        await self._note(self.reports, request)
        return pb.ReportLoadResponse()

    async def register_worker(self, request: pb.RegisterWorkerRequest, call: Call) -> pb.RegisterWorkerResponse:
        await self._note(self.registered, request)
        if self.away:
            raise errors.Unavailable("the store is gone")
        self.epoch += 1
        self.fenced = False
        answer = pb.RegisterWorkerResponse(epoch=self.epoch)
        answer.ttl.FromMilliseconds(round(TTL * 1000))
        return answer

    async def renew_lease(self, request: pb.RenewLeaseRequest, call: Call) -> pb.RenewLeaseResponse:
        await self._note(self.renewals, request)
        if self.fenced or request.epoch != self.epoch:
            raise errors.LeaseFenced("there is a newer lease")
        return pb.RenewLeaseResponse(drain=self.drain)

    async def revoke_lease(self, request: pb.RevokeLeaseRequest, call: Call) -> pb.RevokeLeaseResponse:
        await self._note(self.revoked, request.worker_id)
        return pb.RevokeLeaseResponse()


def left_in(folder: Path) -> list[str]:
    """The files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
