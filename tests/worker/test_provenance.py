"""A worker believes signatures, not registries."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import FailedPrecondition, SignatureRefused
from penstock.signing import SIGNATURE_FILE, Statement, read_trust, sign
from penstock.v1 import model_pb2
from penstock.worker.cache import checked, folder_at
from penstock.worker.fetch import Fetched
from penstock.worker.provenance import check_signed, trust_of
from penstock.worker.worker_config import WorkerConfig

from ..test_signing import keys
from .fake_registry import FakeRegistry


def config(version: int = 1, **more: str) -> WorkerConfig:
    return WorkerConfig("scale", version, "w1", "unix:w", Path("cache"), **more)  # type: ignore[arg-type]


def fetched(cache: Path, manifest: model_pb2.Manifest, signature: bytes | None) -> Fetched:
    """As if the files of a version had come."""
    files = Fetched(cache, ("scale", "1"))
    if signature is None:
        return files
    with folder_at(cache, ("scale", "1")) as folder:
        (cache / "scale" / "1" / SIGNATURE_FILE).write_bytes(signature)
        entry = next(file for file in manifest.files if file.path == SIGNATURE_FILE)
        there = checked(folder, SIGNATURE_FILE, entry.size, entry.sha256)
        assert there is not None
        files.add(SIGNATURE_FILE, there)
    return files


def signed(registry: FakeRegistry, key: Path) -> bytes:
    """Publish the model's file, and the signature of it."""
    registry.publish("scale.py", b"code")
    files = {file.path: file.sha256 for file in registry.manifest.files}
    envelope = sign(Statement("scale", 1, "python", "scale.py:Scale", files), key)
    registry.publish(SIGNATURE_FILE, envelope)
    return envelope


def test_a_version_that_is_what_was_signed_is_loaded(tmp_path: Path) -> None:
    key, public = keys(tmp_path)
    registry = FakeRegistry()
    envelope = signed(registry, key)
    with fetched(tmp_path / "cache", registry.manifest, envelope) as files:
        check_signed(read_trust("required", str(public)), config(), registry.manifest, files)


def test_what_a_registry_made_of_it_is_not(tmp_path: Path) -> None:
    key, public = keys(tmp_path)
    registry = FakeRegistry()
    envelope = signed(registry, key)
    trust = read_trust("required", str(public))
    with fetched(tmp_path / "cache", registry.manifest, envelope) as files:
        with pytest.raises(SignatureRefused):
            check_signed(trust, config(version=2), registry.manifest, files)  # an old one, as the newest
        registry.manifest.entry = "other.py:Scale"
        with pytest.raises(SignatureRefused):
            check_signed(trust, config(), registry.manifest, files)
        registry.manifest.entry = "scale.py:Scale"
        registry.publish("more.py", b"more")
        with pytest.raises(SignatureRefused):
            check_signed(trust, config(), registry.manifest, files)


def test_a_version_without_a_signature_is_refused_only_where_it_must_have_one(tmp_path: Path) -> None:
    _, public = keys(tmp_path)
    registry = FakeRegistry()
    registry.publish("scale.py", b"code")
    with fetched(tmp_path / "cache", registry.manifest, None) as files:
        check_signed(read_trust("check", str(public)), config(), registry.manifest, files)
        with pytest.raises(SignatureRefused):
            check_signed(read_trust("required", str(public)), config(), registry.manifest, files)


def test_a_worker_that_cannot_read_its_keys_loads_nothing_and_names_no_path(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="trusted_keys") as caught:
        trust_of(config(signatures="required", trusted_keys=str(tmp_path / "none.pem")))
    assert str(tmp_path) not in caught.value.message
