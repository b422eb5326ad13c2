"""A registry that is killed at random points of publishing: each version is there whole, or not at all.

PENSTOCK_KILLS says how often; the figure in the documents is of 1,000.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from penstock.v1 import artifacts_pb2, model_pb2
from penstock.v1 import registry_pb2 as pb

from .registries import Nursery, Registry

KILLS = int(os.environ.get("PENSTOCK_KILLS", "25"))
CHUNK = 64 * 1024

pytestmark = [pytest.mark.process, pytest.mark.timeout(120 + 4 * KILLS)]


@dataclass
class Publisher:
    """Publishes one version after the other, each of three files that no other version has."""

    random: random.Random
    acknowledged: set[int] = field(default_factory=set)
    number: int = 0

    def publish(self, stub: Any) -> None:
        """The next version; an error means that it is not known whether it is there."""
        self.number += 1
        contents = [self.random.randbytes(self.random.randrange(200_000)) for _ in range(3)]
        files = [
            model_pb2.FileEntry(path=f"{index}", size=len(c), sha256=hashlib.sha256(c).hexdigest())
            for index, c in enumerate(contents)
        ]
        header = pb.PublishHeader(name="digits", version=self.number, format="python", entry="0", files=files)
        try:
            header.offsets.extend(stub.PrepareUpload(artifacts_pb2.PrepareUploadRequest(files=files)).offsets)
            stub.Publish(_parts(header, contents), timeout=60)
        except grpc.RpcError:
            return
        self.acknowledged.add(self.number)


def _parts(header: pb.PublishHeader, contents: list[bytes]) -> Iterator[pb.PublishRequest]:
    yield pb.PublishRequest(header=header)
    for content in contents:
        for start in range(0, len(content), CHUNK):
            yield pb.PublishRequest(chunk=content[start : start + CHUNK])


def test_a_registry_killed_while_it_publishes_has_the_whole_version_or_none(tmp_path: Path) -> None:
    source = random.Random(7)
    publisher = Publisher(random.Random(8))
    nursery = Nursery()
    registry = nursery.make(tmp_path / "data")
    outcomes: Counter[str] = Counter()
    usual = 0.0
    for round_ in range(KILLS):
        if round_ % 50 == 0:  # how busy the machine is changes
            usual = _duration(publisher, registry)
        before = publisher.number
        thread = threading.Thread(target=publisher.publish, args=(registry.stub,))
        thread.start()
        thread.join(source.uniform(0, 1.3 * usual))
        registry.kill()
        thread.join()
        registry.channel.close()
        registry = nursery.make(tmp_path / "data")
        outcomes[_look(registry, publisher, before + 1)] += 1
    _look_at_all(registry, publisher)
    registry.kill()
    registry.channel.close()
    nursery.close()
    print(f"{KILLS} kills: {dict(outcomes)}")


def _duration(publisher: Publisher, registry: Registry) -> float:
    """In seconds, of the first that a registry takes."""
    begun = time.monotonic()
    publisher.publish(registry.stub)
    return time.monotonic() - begun


def _look(registry: Registry, publisher: Publisher, number: int) -> str:
    """What became of the version that was being published."""
    [model] = registry.models()
    there = {version.manifest.version: version for version in model.versions}
    assert publisher.acknowledged <= there.keys()  # nothing that was acknowledged is lost
    if number not in there:
        return "not there"
    registry.check(there[number])
    return "acknowledged" if number in publisher.acknowledged else "there, not acknowledged"


def _look_at_all(registry: Registry, publisher: Publisher) -> None:
    """What the killed ones left is collected, and no file of a version with it."""
    registry.stub.CollectGarbage(artifacts_pb2.CollectGarbageRequest(ignore_grace=True), timeout=60)
    [model] = registry.models()
    for version in model.versions:
        registry.check(version)
    needed = {file.sha256: file.size for version in model.versions for file in version.manifest.files}
    answer = registry.stub.CollectGarbage(artifacts_pb2.CollectGarbageRequest(dry_run=True), timeout=60)
    assert answer.stored_bytes == sum(needed.values())
