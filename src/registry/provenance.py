"""Whether a version is signed as it must be, before it is published."""

from __future__ import annotations

from ..errors import SignatureRefused
from ..signing import SIGNATURE_FILE, Statement, Trust
from .artifacts import Upload
from .state import Draft


async def check_signed(trust: Trust, upload: Upload, draft: Draft) -> None:
    """Judge what has arrived, or is in the store.

    Raises:
        SignatureRefused: it is not signed by a key that is trusted, or is not what was signed.
        ArtifactCorrupt: the signature cannot be read.
    """
    if trust.mode == "off":
        return
    sealed = next((file for file in draft.files if file.path == SIGNATURE_FILE), None)
    if sealed is not None and not draft.version:
        text = f"what is signed is a version with a number, and {draft.name!r} came without one; name it"
        raise SignatureRefused(text, precondition=draft.name)
    files = {file.path: file.sha256 for file in draft.files if file is not sealed}
    statement = Statement(draft.name, draft.version, draft.format, draft.entry, files)
    trust.check(statement, await upload.content(sealed.sha256) if sealed is not None else None)
