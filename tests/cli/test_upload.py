"""An upload that breaks off, seen from the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from penstock.cli.control import Control
from penstock.cli.source import File
from penstock.cli.upload import Upload
from penstock.errors import ArtifactCorrupt, Conflict, PenstockError, StorageFull, Unavailable
from penstock.rpc.errors import to_trailers
from penstock.v1 import artifacts_pb2
from penstock.v1 import registry_pb2 as pb

CONTENT = bytes(range(256)) * 10_000


class Broken(grpc.RpcError):
    """What a stub raises."""

    def __init__(self, error: PenstockError) -> None:
        self._error = error

    def code(self) -> grpc.StatusCode:
        return self._error.code

    def details(self) -> str:
        return self._error.message

    def trailing_metadata(self) -> Any:
        return tuple(to_trailers(self._error))


class Lost(grpc.RpcError):
    """The connection has gone."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "gone"

    def trailing_metadata(self) -> Any:
        return None


class Registry:
    """Takes so many bytes of each call and then fails, as it is told; after that it takes all."""

    def __init__(self, *script: tuple[int, Exception]) -> None:
        self.script = list(script)
        self.there: dict[str, int] = {}
        self.received = 0
        self.calls: list[list[int]] = []
        """The offsets of each call."""

    def PrepareUpload(self, request: artifacts_pb2.PrepareUploadRequest, **_: Any) -> Any:
        return artifacts_pb2.PrepareUploadResponse(offsets=[self.there.get(f.sha256, 0) for f in request.files])

    def Publish(self, parts: Iterator[pb.PublishRequest], **_: Any) -> pb.PublishResponse:
        header = next(parts).header
        self.calls.append(list(header.offsets))
        most, error = self.script.pop(0) if self.script else (10**9, None)
        [file] = header.files
        taken = sum(header.offsets)
        for part in parts:
            self.received += len(part.chunk)
            taken += len(part.chunk)
            if taken >= most:
                break
        self.there[file.sha256] = taken
        if error is not None:
            raise error
        return pb.PublishResponse()


def upload(registry: Registry, version: int = 1) -> tuple[Upload, list[float], list[int]]:
    """One of a file, with what it waits and what it says of its progress."""
    file = File("model.pt2", CONTENT)
    header = pb.PublishHeader(name="digits", version=version, files=[file.entry()])
    control = Control.__new__(Control)
    control.stub, control.metadata = registry, ()  # type: ignore[assignment]
    pauses: list[float] = []
    seen: list[int] = []
    return Upload(control, header, [file], seen.append, pauses.append), pauses, seen


def test_it_goes_on_where_it_stopped() -> None:
    registry = Registry()
    registry.there[hashlib.sha256(CONTENT).hexdigest()] = 1_000_000
    sending, pauses, seen = upload(registry)
    sending.run()
    assert registry.calls == [[1_000_000]]
    assert (registry.received, sending.sent) == (len(CONTENT) - 1_000_000,) * 2
    assert (seen[0], seen[-1], pauses) == (1_000_000, len(CONTENT), [])


def test_a_lost_connection_is_tried_again_with_longer_and_longer_pauses() -> None:
    registry = Registry(*[(0, Lost())] * 5)
    sending, pauses, _ = upload(registry)
    registry.there = _Forgets()
    sending.run()
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]
    registry = Registry(*[(0, Lost())] * 6)
    registry.there = _Forgets()
    sending, pauses, _ = upload(registry)
    with pytest.raises(Lost):
        sending.run()


class _Forgets(dict[str, int]):
    """Nothing stays."""

    def __setitem__(self, key: str, value: int) -> None: ...


def test_what_is_refused_is_not_sent_again() -> None:
    registry = Registry((0, Broken(StorageFull("full"))))
    sending, _, _ = upload(registry)
    with pytest.raises(Broken):
        sending.run()
    assert len(registry.calls) == 1


def test_bytes_that_are_gone_meanwhile_are_asked_for_again() -> None:
    registry = Registry((0, Broken(Conflict("not here any more"))))
    sending, pauses, _ = upload(registry)
    sending.run()
    assert (len(registry.calls), pauses) == (2, [])


def test_if_what_was_there_was_wrong_it_is_sent_whole_once() -> None:
    registry = Registry((0, Broken(ArtifactCorrupt("other"))), (0, Broken(ArtifactCorrupt("other"))))
    registry.there[hashlib.sha256(CONTENT).hexdigest()] = 1_000_000
    sending, _, _ = upload(registry)
    with pytest.raises(Broken):
        sending.run()
    assert registry.calls == [[1_000_000], []]


def test_what_may_be_stored_already_is_not_published_under_a_second_number() -> None:
    registry = Registry((10**9, Lost()))
    sending, _, _ = upload(registry, version=0)
    with pytest.raises(Lost):
        sending.run()
    numbered = Registry((10**9, Lost()))
    sending, _, _ = upload(numbered, version=1)
    sending.run()
    assert (len(registry.calls), len(numbered.calls)) == (1, 2)


def test_a_registry_that_says_that_it_cannot_now_is_asked_again_whatever_the_number() -> None:
    registry = Registry((10**9, Broken(Unavailable("the web server is away"))))
    sending, pauses, _ = upload(registry, version=0)
    sending.run()
    assert (len(registry.calls), pauses) == (2, [1.0])
