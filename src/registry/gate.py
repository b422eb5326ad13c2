"""Who may call the registry: admins, each known by a key, one of which lies in the data folder."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from grpc_health.v1 import health_pb2

from ..errors import Unauthenticated
from ..rpc.access import ADMIN, Access, authenticate, check
from ..rpc.call import Call, Gate
from ..rpc.service import paths
from .artifacts import storage_errors, sync_folder
from .keyring import Keyring
from .keys import new_key
from .servicer import SERVICE

ADMIN_KEY_FILE = "admin.key"
RULES: dict[str, Access] = {
    **dict.fromkeys(paths(SERVICE), Access.ADMIN),
    **dict.fromkeys(paths(health_pb2.DESCRIPTOR.services_by_name["Health"]), Access.PUBLIC),
}
"""What each method asks of its caller; one that is not here is for admins only."""

log = logging.getLogger("penstock.registry")


def key_gate(keyring: Keyring) -> Gate:
    """A gate that asks for a key; it knows of one that is made or revoked at once."""

    def gate(call: Call) -> None:
        access = RULES.get(call.method)
        if access is not Access.PUBLIC:
            call.principal = authenticate(call.text("authorization"), keyring.table)
            check(access, call.principal, call.method)

    return gate


async def ensure_admin_key(keyring: Keyring, data_dir: Path) -> Path:
    """Make sure that DATA/admin.key (mode 0600) holds a good admin key: gateways and workers call with it.

    A file that is lost, or whose key is revoked, is written anew: who can write there could change the store as well.
    """
    path = data_dir / ADMIN_KEY_FILE
    if not _is_good(path, keyring):
        secret, key = new_key("admin", [ADMIN], time.time())
        _write(path, secret)  # first: a key that is stored but lost would be of no use to anybody
        await keyring.add(key)
        log.info("made an admin key; it is in %s", path)
    return path


def _is_good(path: Path, keyring: Keyring) -> bool:
    try:
        secret = path.read_text().strip()
    except FileNotFoundError:
        return False
    try:
        return ADMIN in authenticate(f"Bearer {secret}", keyring.table).scopes
    except Unauthenticated:
        return False


def _write(path: Path, secret: str) -> None:
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    with storage_errors():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
