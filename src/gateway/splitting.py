"""Which of an alias's versions a request meets, and whether it is mirrored, from its key alone. Decisions only.

Weighted rendezvous: each version draws a number for the key, -ln(u)/weight with u from a hash of key and version, and
the least wins. Shares are those of the weights, no state is kept, all gateways agree, and if one version's weight
changes, or it comes or goes, keys move only to it or from it (cumulative ranges would shift all that lie behind). Steps
of a canary are such changes: who has met the new version stays with it. Source: Schindelhauer and Schomaker, "Weighted
distributed hash tables" (2005), their logarithmic method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import log

SPLIT_KEY = "x-penstock-split-key"
_SPAN = 2.0**64


@dataclass(frozen=True, slots=True)
class Mirror:
    """Another version is asked a share of the requests as well."""

    version: int
    share: float
    tolerance: float
    revision: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What is set for one alias of a model."""

    name: str
    alias: str
    own: int
    """The version that the alias means."""
    revision: int
    parts: tuple[tuple[int, float], ...] = ()
    """Versions and weights; none: all goes to the alias's own."""
    sticky_key: str = ""
    available: frozenset[int] = frozenset()
    mirror: Mirror | None = None


def key_of(rules: Rules, metadata: Mapping[str, str | bytes], split_key: str, request_id: str) -> bytes:
    """A request's key: what the caller gives as such, the value of the split's sticky key, or the request's id."""
    found = split_key or metadata.get(SPLIT_KEY) or metadata.get(rules.sticky_key) or request_id
    return found if isinstance(found, bytes) else found.encode()


def chosen(rules: Rules, key: bytes) -> int:
    """The version for a key. One that is not AVAILABLE leaves its share to the alias's own."""
    if not rules.parts:
        return rules.own
    version, _ = min(rules.parts, key=lambda part: -log(_uniform(f"{rules.name}\0{part[0]}\0", key)) / part[1])
    return version if version in rules.available else rules.own


def mirrored(rules: Rules, version: int, request_id: str) -> bool:
    """Whether a request that this version has answered is asked of the shadow, too. By its id, not by who asks."""
    mirror = rules.mirror
    if mirror is None or version == mirror.version:
        return False
    return mirror.share >= 1.0 or _uniform(f"shadow\0{rules.name}\0", request_id.encode()) < mirror.share


def _uniform(seed: str, key: bytes) -> float:
    """Between 0 and 1, neither of them."""
    return (int.from_bytes(blake2b(seed.encode() + key, digest_size=8).digest()) + 0.5) / (_SPAN * (1 + 2**-50))
