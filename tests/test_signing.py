from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from penstock.errors import SignatureRefused
from penstock.signing import BadKey, Statement, Trust, read_trust, sign

STATEMENT = Statement("digits", 3, "torch_export", "model.pt2", {"model.pt2": "ab" * 32, "labels.txt": "cd" * 32})


def keys(folder: Path, name: str = "ann") -> tuple[Path, Path]:
    """Files with a private key, and with its public one."""
    key = ed25519.Ed25519PrivateKey.generate()
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def signed(tmp_path: Path) -> tuple[bytes, Path]:
    """An envelope, and the file with the key that it is good by."""
    private, public = keys(tmp_path)
    return sign(STATEMENT, private), public


def test_what_was_signed_is_taken(signed: tuple[bytes, Path]) -> None:
    envelope, public = signed
    for mode in ("required", "check"):
        read_trust(mode, str(public)).check(STATEMENT, envelope)


@pytest.mark.parametrize(
    "other",
    [
        replace(STATEMENT, name="other"),
        replace(STATEMENT, version=4),  # an old one under a new number
        replace(STATEMENT, format="torchscript"),
        replace(STATEMENT, entry="labels.txt"),
        replace(STATEMENT, files={"model.pt2": "ab" * 32}),
        replace(STATEMENT, files={**STATEMENT.files, "more.py": "ef" * 32}),
        replace(STATEMENT, files={**STATEMENT.files, "model.pt2": "ef" * 32}),
    ],
)
def test_anything_else_is_refused(signed: tuple[bytes, Path], other: Statement) -> None:
    envelope, public = signed
    with pytest.raises(SignatureRefused, match="not what was signed"):
        read_trust("check", str(public)).check(other, envelope)


def test_another_key_is_no_good_and_of_several_that_are_trusted_any_is(
    signed: tuple[bytes, Path], tmp_path: Path
) -> None:
    envelope, public = signed
    _, other = keys(tmp_path, "bob")
    with pytest.raises(SignatureRefused, match="trusted_keys"):
        read_trust("required", str(other)).check(STATEMENT, envelope)
    other.write_bytes(b"# both\n" + other.read_bytes() + public.read_bytes())
    read_trust("required", str(other)).check(STATEMENT, envelope)


def test_what_is_not_signed_is_refused_only_where_it_must_be(signed: tuple[bytes, Path]) -> None:
    trusted = str(signed[1])
    read_trust("check", trusted).check(STATEMENT, None)
    Trust().check(STATEMENT, None)
    Trust().check(STATEMENT, b"nonsense")
    with pytest.raises(SignatureRefused, match="--sign-key"):
        read_trust("required", trusted).check(STATEMENT, None)


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"payload": 1, "payloadType": "x", "signatures": []}',
        b'{"payload": "e30=", "payloadType": "application/vnd.penstock.version+json", "signatures": [1]}',
        b'{"payload": "e30=", "payloadType": "application/vnd.penstock.version+json", "signatures": [{"sig": "e30="}]}',
    ],
)
def test_what_is_no_envelope_is_refused(signed: tuple[bytes, Path], envelope: bytes) -> None:
    with pytest.raises(SignatureRefused):
        read_trust("check", str(signed[1])).check(STATEMENT, envelope)


def test_a_changed_payload_or_type_is_refused(signed: tuple[bytes, Path]) -> None:
    envelope, public = signed
    outer = json.loads(envelope)
    payload = base64.b64encode(base64.b64decode(outer["payload"]).replace(b"digits", b"others")).decode()
    changes: list[dict[str, object]] = [{"payload": payload}, {"payloadType": "application/json"}, {"signatures": []}]
    for changed in changes:
        with pytest.raises(SignatureRefused):
            read_trust("check", str(public)).check(
                replace(STATEMENT, name="others"), json.dumps({**outer, **changed}).encode()
            )


def test_files_without_the_right_keys_are_said_to_be_so(tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    for wrong in (public, tmp_path / "missing"):
        with pytest.raises(BadKey):
            sign(STATEMENT, wrong)
    other = tmp_path / "other.pub"
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    other.write_bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    for path in (str(private), str(other), str(tmp_path / "missing"), ""):
        with pytest.raises(BadKey):
            read_trust("required", path)
    assert read_trust("off", "") == Trust()
