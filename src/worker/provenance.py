"""Whether a version is signed as this worker's own settings ask: the registry may be anybody's by now."""

from __future__ import annotations

import logging

from penstock.v1 import model_pb2

from ..errors import FailedPrecondition, SignatureRefused
from ..signing import MAX_BYTES, SIGNATURE_FILE, BadKey, Statement, Trust, read_trust
from .fetch import Fetched
from .worker_config import WorkerConfig

log = logging.getLogger("penstock.worker")


def trust_of(config: WorkerConfig) -> Trust:
    """Whose signatures count, as the settings say. Raises FailedPrecondition if they cannot be followed."""
    try:
        return read_trust(config.signatures, config.trusted_keys)
    except BadKey as error:
        log.error("%s", error)
        text = "the worker cannot read the keys that it is to trust (setting trusted_keys); its log says why"
        raise FailedPrecondition(text, precondition="trusted_keys") from None


def check_signed(trust: Trust, config: WorkerConfig, manifest: model_pb2.Manifest, files: Fetched) -> None:
    """Judge a version whose files are here, each with the digest that its manifest says.

    Args:
        trust: whose signatures count.
        config: which version this worker is to serve; a signature of another one is no good.
        manifest: what the registry says that the version is.
        files: the files.

    Raises:
        SignatureRefused: it is not signed by a key that is trusted, or is not what was signed.
    """
    if trust.mode == "off":
        return
    digests = {file.path: file.sha256 for file in manifest.files if file.path != SIGNATURE_FILE}
    statement = Statement(config.name, config.version, manifest.format, manifest.entry, digests)
    envelope = files.content(SIGNATURE_FILE, MAX_BYTES + 1)
    if envelope is not None and len(envelope) > MAX_BYTES:
        raise SignatureRefused(f"{SIGNATURE_FILE} of {config.name}:{config.version} has more than {MAX_BYTES} bytes")
    trust.check(statement, envelope)
