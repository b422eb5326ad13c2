"""A registry that takes only what is signed, or nothing that is signed wrongly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock import errors
from penstock.registry.artifacts import Artifacts
from penstock.registry.servicer import RegistryServicer
from penstock.registry.state import FileEntry
from penstock.rpc.call import Call
from penstock.signing import SIGNATURE_FILE, Statement, read_trust, sign
from penstock.v1 import registry_pb2 as pb

from ..test_signing import keys
from .conftest import World, entry
from .test_artifacts import files_in
from .wire import header

CONTENT = b"weights"


def envelope(key: Path, version: int = 1, **more: Any) -> bytes:
    fields: dict[str, Any] = {"format": "torch_export", "entry": "model.pt2", **more}
    return sign(Statement("digits", version, files={"model.pt2": entry(CONTENT).sha256}, **fields), key)


async def publish(
    servicer: RegistryServicer, signature: bytes | None = None, version: int = 1, content: bytes = CONTENT
) -> pb.PublishResponse:
    files: list[tuple[FileEntry, bytes]] = [(entry(content), content)]
    if signature is not None:
        files.append((entry(signature, SIGNATURE_FILE), signature))

    async def requests() -> AsyncIterator[pb.PublishRequest]:
        yield header(*(file for file, _ in files), version=version)
        for _, chunk in files:
            yield pb.PublishRequest(chunk=chunk)

    return await servicer.publish(requests(), Call("/Publish", {}, "r-1"))


@pytest.mark.parametrize("mode", ["check", "required"])
async def test_only_what_was_signed_by_a_trusted_key_is_published(
    world: World, artifacts: Artifacts, tmp_path: Path, mode: str
) -> None:
    key, public = keys(tmp_path)
    other, _ = keys(tmp_path, "bob")
    servicer = RegistryServicer(world.registry, artifacts, trust=read_trust(mode, str(public)))
    good = envelope(key)
    wrong: list[dict[str, Any]] = [
        {"signature": good, "version": 2},
        {"signature": good, "version": 0},
        {"signature": good, "content": b"changed"},
        {"signature": envelope(other)},
        {"signature": envelope(key, format="python")},
        {"signature": b"nonsense"},
        {"signature": bytes(2_000_000)},
    ]
    if mode == "required":
        wrong.append({})
    for arguments in wrong:
        with pytest.raises((errors.SignatureRefused, errors.ArtifactCorrupt)):
            await publish(servicer, **arguments)
    assert files_in(tmp_path / "artifacts") == []
    assert (await publish(servicer, good)).manifest.version == 1
    if mode == "check":
        assert (await publish(servicer, version=2)).manifest.version == 2
