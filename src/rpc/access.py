"""Who may do what: principals, their scopes, and the rule of every method. Decisions only."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase

from ..errors import AuthInvalid, AuthMissing, ScopeInsufficient

ADMIN = "admin"
_SCOPE = re.compile(r"admin|(predict|status):[a-z0-9*][a-z0-9._*-]{0,127}")
_KEY = re.compile(r"psk_([0-9a-f]{16})_[0-9a-f]{64}")


class Access(Enum):
    """What a method asks of its caller."""

    PUBLIC = auto()
    """Nothing."""
    AUTHENTICATED = auto()
    """A credential; what it may do depends on the model, which the method itself checks."""
    ADMIN = auto()
    """The scope `admin`."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling."""

    name: str
    scopes: frozenset[str]

    def may(self, verb: str, model: str) -> bool:
        """Whether some scope allows the verb (`predict`, `status`) on the model; `predict` includes `status`."""
        return any(_covers(scope, verb, model) for scope in self.scopes)

    def require(self, verb: str, model: str) -> None:
        """Raise ScopeInsufficient unless the verb is allowed; says nothing about whether the model exists."""
        if ADMIN not in self.scopes and not self.may(verb, model):
            needed = f"{verb}:{model}"
            text = f"{self.name!r} may not {verb} {model!r}: ask for a key with the scope {needed!r}"
            raise ScopeInsufficient(text, metadata={"requiredScope": needed})


ANONYMOUS = Principal("anonymous", frozenset({ADMIN}))
"""Everybody, on a server without authentication (which binds to loopback only)."""

NOBODY = Principal("", frozenset())
"""A caller who has shown nothing, on a server with authentication."""


def _covers(scope: str, verb: str, model: str) -> bool:
    if scope == ADMIN:
        return True
    granted, _, pattern = scope.partition(":")
    return (granted == verb or (granted, verb) == ("predict", "status")) and fnmatchcase(model, pattern)


def is_scope(text: str) -> bool:
    """Whether this is how a scope is written."""
    return _SCOPE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is stored of a key."""

    key_id: str
    sha256: bytes
    principal: Principal


def digest(key: str) -> bytes:
    """What is stored instead of the key. A plain hash is enough: the key holds 256 random bits."""
    return hashlib.sha256(key.encode()).digest()


def authenticate(authorization: str, keys: Mapping[str, ApiKey]) -> Principal:
    """The principal behind an `authorization` header.

    Raises:
        AuthMissing: the header is not there.
        AuthInvalid: it is not `Bearer KEY` with a known key; one text for all causes.
    """
    if not authorization:
        raise AuthMissing("no credential: send `authorization: Bearer KEY` with a key made by `penstock key create`")
    scheme, _, key = authorization.partition(" ")
    match = _KEY.fullmatch(key)
    known = keys.get(match[1]) if match else None
    if scheme.lower() != "bearer" or known is None or not hmac.compare_digest(known.sha256, digest(key)):
        raise AuthInvalid("the credential is not valid; check that the key is complete and not revoked")
    return known.principal


def check(access: Access | None, principal: Principal, method: str) -> None:
    """Raise ScopeInsufficient if the method is not for this principal. A method without a rule is for admins only."""
    if access in (None, Access.ADMIN) and ADMIN not in principal.scopes:
        text = f"{principal.name!r} may not call {method}: it needs the scope 'admin'"
        raise ScopeInsufficient(text, metadata={"requiredScope": ADMIN})


def by_id(keys: Iterable[ApiKey]) -> dict[str, ApiKey]:
    """The table in which `authenticate` looks."""
    return {key.key_id: key for key in keys}
