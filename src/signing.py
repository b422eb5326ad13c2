"""Signatures of versions: a file among the others says, signed, what all of them must be.

It is an envelope of DSSE (github.com/secure-systems-lab/dsse, v1) around a statement: the model's name, the version's
number, its format, its entry, and the digest of every other file. So what was signed as one version is no good as
another one, nor with a file more, less or changed. Keys are of Ed25519.

Checked twice: by the registry, so that nobody publishes in vain, and by the worker, which believes no registry.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import SignatureRefused

SIGNATURE_FILE = "penstock.sig.json"
MODES = ("off", "check", "required")
MAX_BYTES = 1024 * 1024
_TYPE = "application/vnd.penstock.version+json"
_MAX_SIGNATURES = 16
_BEGIN, _END = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"


class BadKey(ValueError):
    """A file does not hold the keys that it should, or the package that reads them is missing; the message says so."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is signed."""

    name: str
    version: int
    format: str
    entry: str
    files: Mapping[str, str]
    """Each file's SHA-256, by its path; without the signature's own."""

    def encode(self) -> bytes:
        """As it is signed."""
        return json.dumps(self._fields(), sort_keys=True).encode()

    def is_said_by(self, payload: bytes) -> bool:
        """Whether a payload says this, and nothing else."""
        try:
            return bool(json.loads(payload) == self._fields())
        except (ValueError, RecursionError):
            return False

    def _fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "format": self.format,
            "entry": self.entry,
            "files": dict(self.files),
        }


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count, and whether there must be one."""

    mode: str = "off"
    """`required` refuses what is not signed, `check` only what is signed wrongly, `off` nothing."""
    keys: tuple[Any, ...] = field(default=())
    """Public keys of the package cryptography."""

    def check(self, statement: Statement, envelope: bytes | None) -> None:
        """Judge a version.

        Args:
            statement: what it is.
            envelope: the content of its signature file; None: it has none.

        Raises:
            SignatureRefused: it is not what somebody signed who is trusted.
        """
        subject = f"{statement.name}:{statement.version}"
        if self.mode == "off" or (envelope is None and self.mode == "check"):
            return
        if envelope is None:
            text = f"{subject} is not signed, and only signed versions are taken (setting signatures)"
            raise SignatureRefused(f"{text}; publish it with --sign-key", precondition=subject)
        payload = self._verified(envelope)
        if payload is None:
            text = f"{subject} is not signed by a key that is trusted (setting trusted_keys)"
            raise SignatureRefused(text, precondition=subject)
        if not statement.is_said_by(payload):
            text = f"{subject} is not what was signed: another name, number, format, entry or file"
            raise SignatureRefused(f"{text}; sign it anew", precondition=subject)

    def _verified(self, envelope: bytes) -> bytes | None:
        """The payload, if a trusted key has signed it."""
        try:
            outer = json.loads(envelope)
            payload = base64.b64decode(outer["payload"], validate=True)
            signatures = [base64.b64decode(one["sig"], validate=True) for one in outer["signatures"]]
            type_ = outer["payloadType"]
        except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
            return None
        if type_ != _TYPE or len(signatures) > _MAX_SIGNATURES:
            return None
        signed = _signed_bytes(payload)
        return payload if any(_is_by(key, one, signed) for key in self.keys for one in signatures) else None


def read_trust(mode: str, path: str) -> Trust:
    """As the settings say.

    Args:
        mode: one of MODES.
        path: a file with public keys in PEM, one after the other; empty: none is given.

    Raises:
        BadKey: they are needed, and cannot be read.
    """
    if mode == "off":
        return Trust()
    if not path:
        raise BadKey(f"signatures={mode} needs trusted_keys: a file with the public keys that count, in PEM")
    serialization, ed25519 = _cryptography()
    keys = []
    for block in _blocks(_content(Path(path))):
        try:
            key = serialization.load_pem_public_key(block)
        except ValueError:
            raise BadKey(f"{path} holds something that is no public key in PEM") from None
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise BadKey(f"{path} holds a key that is not of Ed25519")
        keys.append(key)
    if not keys:
        raise BadKey(f"{path} holds no public key; `openssl pkey -in sign.pem -pubout` writes one")
    return Trust(mode, tuple(keys))


def sign(statement: Statement, path: Path) -> bytes:
    """The content of the signature file.

    Args:
        statement: what to sign.
        path: a file with the private key, in PEM, without a password.

    Raises:
        BadKey: it cannot be read.
    """
    serialization, ed25519 = _cryptography()
    try:
        key = serialization.load_pem_private_key(_content(path), password=None)
    except (ValueError, TypeError):
        raise BadKey(f"{path} is no private key in PEM without a password") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise BadKey(f"{path} is not a key of Ed25519; `openssl genpkey -algorithm ed25519` makes one")
    payload = statement.encode()
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    signature = {"keyid": hashlib.sha256(public).hexdigest()[:16], "sig": _text(key.sign(_signed_bytes(payload)))}
    return json.dumps({"payload": _text(payload), "payloadType": _TYPE, "signatures": [signature]}).encode()


def _signed_bytes(payload: bytes) -> bytes:
    """DSSE: "PAE(type, body) = "DSSEv1" + SP + LEN(type) + SP + type + SP + LEN(body) + SP + body"."""
    return b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE.encode(), len(payload), payload)


def _is_by(key: Any, signature: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError:
        raise BadKey("signatures need a package that is not installed: pip install 'penstock[signing]'") from None
    return serialization, ed25519


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadKey(f"{path} cannot be read: {error.strerror}") from None


def _blocks(pem: bytes) -> list[bytes]:
    return [_BEGIN + part.partition(_END)[0] + _END + b"\n" for part in pem.split(_BEGIN)[1:]]


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
