"""Send the files of a version: only what the registry lacks, and on from where it stopped if the connection breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import grpc

from penstock.v1 import artifacts_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import ArtifactCorrupt, Conflict, PenstockError, RegistryUnavailable, Unavailable
from ..rpc.errors import from_rpc_error
from .control import TIMEOUT, Control
from .output import err

Header = pb.PublishHeader | pb.RestoreHeader
UPLOAD_TIMEOUT = 24 * 3600.0
_ATTEMPTS = 6
"""So often without a byte more than before; the pauses between them are 31 s together."""

_PREPARED = 1000
"""Files that are asked for in one call."""


class Bytes(Protocol):
    """A file to send."""

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Its bytes from an offset on."""


class Upload:
    """One upload, of a version or of a whole model out of an archive.

    Args:
        registry: where to.
        header: what is published; its offsets are filled in here.
        files: those of the header, in its order.
        on_progress: told how many bytes are there, of those of all files.
        pause: waits for so many seconds.
    """

    def __init__(
        self,
        registry: Control,
        header: Header,
        files: Sequence[Bytes],
        on_progress: Callable[[int], None],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause = pause
        self._registry = registry
        self._header = header
        self._files = files
        self._on_progress = on_progress
        self.sent = 0
        """Bytes that were sent, whether they arrived or not."""
        self._complete = False

    def run(self) -> Any:
        """Send what is missing until it is stored; the registry's answer.

        Raises:
            PenstockError: the registry refuses it, or cannot be reached for longer than half a minute.
        """
        failures, most, trusting = 0, -1, True
        while True:
            try:
                there = self._prepare(trusting)
                if there > most:
                    failures, most = 0, there
                return self._send()
            except grpc.RpcError as error:
                known = from_rpc_error(error)
                failures += 1
                if failures >= _ATTEMPTS or not self._may_go_on(known):
                    raise
                trusting = trusting and not isinstance(known, ArtifactCorrupt)
                err().print(f"the upload broke off ({known.message}); going on", markup=False)
                if isinstance(known, Unavailable):
                    self._pause(2.0 ** (failures - 1))

    def _may_go_on(self, error: PenstockError) -> bool:
        """What came wrong may have been what was there before: it is sent again, whole, once."""
        if self._complete and self._means_another_next_time(error):
            err().print("it may be stored all the same: look with `penstock status` before you publish it again")
            return False
        resumed = any(self._header.offsets)
        return isinstance(error, (Unavailable, Conflict)) or (isinstance(error, ArtifactCorrupt) and resumed)

    def _means_another_next_time(self, error: PenstockError) -> bool:
        """Whether the registry may have stored it before the answer was lost, and would give it the next number."""
        numbered = isinstance(self._header, pb.RestoreHeader) or self._header.version
        lost = isinstance(error, RegistryUnavailable) or not error.reason
        return not numbered and lost

    def _prepare(self, trusting: bool) -> int:
        del self._header.offsets[:]
        if not trusting or not self._files:
            return 0
        stub, metadata = self._registry.stub, self._registry.metadata
        there: list[int] = []
        for start in range(0, len(self._files), _PREPARED):
            request = artifacts_pb2.PrepareUploadRequest(files=self._header.files[start : start + _PREPARED])
            answer = stub.PrepareUpload(request, timeout=TIMEOUT, metadata=metadata, wait_for_ready=self.sent > 0)
            there += answer.offsets
        self._header.offsets[:] = _each_once(self._header, there)
        return sum(self._header.offsets)

    def _send(self) -> Any:
        self._complete = False
        self._on_progress(sum(self._header.offsets))
        restoring = isinstance(self._header, pb.RestoreHeader)
        call: Any = self._registry.stub.RestoreModel if restoring else self._registry.stub.Publish
        return call(self._parts(), timeout=UPLOAD_TIMEOUT, metadata=self._registry.metadata)

    def _parts(self) -> Iterator[pb.PublishRequest | pb.RestoreModelRequest]:
        request: Any = pb.RestoreModelRequest if isinstance(self._header, pb.RestoreHeader) else pb.PublishRequest
        there = sum(self._header.offsets)
        offsets = list(self._header.offsets) or [0] * len(self._files)
        yield request(header=self._header)
        for file, offset in zip(self._files, offsets, strict=True):
            for chunk in file.chunks(offset):
                yield request(chunk=chunk)
                self.sent += len(chunk)
                there += len(chunk)
                self._on_progress(there)
        self._complete = True


def _each_once(header: Header, offsets: Sequence[int]) -> list[int]:
    """Of several files with the same content the first is sent, and is there when the others' turn comes."""
    seen: set[str] = set()
    found = []
    for entry, offset in zip(header.files, offsets, strict=True):
        found.append(entry.size if entry.sha256 in seen else offset)
        seen.add(entry.sha256)
    return found
