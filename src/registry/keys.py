"""API keys: how they are made and checked, and what is kept of them (a digest, never the key)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from ..errors import InvalidArgument, Violation
from ..rpc.access import ADMIN, ApiKey, Principal, digest, is_scope
from .names import quoted
from .state import Key

MAX_SCOPES = 64


def new_key(name: str, scopes: Sequence[str], now: float) -> tuple[str, Key]:
    """A key, to be shown once, and what is stored of it.

    Args:
        name: whose it is; printable ASCII, at most 128 characters.
        scopes: `admin`, `predict:MODEL` or `status:MODEL`.
        now: unix seconds.

    Raises:
        InvalidArgument: an unusable name, no scope, or one that is not a scope.
    """
    violations = list(_name(name)) + list(_scopes(scopes))
    if violations:
        raise InvalidArgument(violations[0].description, violations=violations[:16])
    key_id = secrets.token_hex(8)
    key = f"psk_{key_id}_{secrets.token_hex(32)}"
    return key, Key(key_id, name, tuple(dict.fromkeys(scopes)), digest(key), round(now, 3))


def _name(name: str) -> list[Violation]:
    if 1 <= len(name) <= 128 and name.isascii() and name.isprintable():  # it travels in a header
        return []
    return [Violation("name", f"a key needs a name of 1 to 128 printable ASCII characters, not {quoted(name)}")]


def _scopes(scopes: Sequence[str]) -> list[Violation]:
    forms = "write admin, predict:MODEL or status:MODEL, where MODEL may hold *"
    if not 1 <= len(scopes) <= MAX_SCOPES:
        return [Violation("scopes", f"a key needs from 1 to {MAX_SCOPES} scopes: {forms}")]
    bad = [(index, scope) for index, scope in enumerate(scopes) if not is_scope(scope)]
    return [Violation(f"scopes[{index}]", f"{quoted(scope)} is not a scope: {forms}") for index, scope in bad]


def api_key(key: Key) -> ApiKey:
    """As `rpc.access.authenticate` takes it."""
    return ApiKey(key.key_id, key.sha256, Principal(key.name, frozenset(key.scopes)))


def is_admin(key: Key) -> bool:
    """Whether its holder may do everything."""
    return ADMIN in key.scopes
