"""Where etcd is and how it is spoken to, from `etcd://HOST:PORT,HOST:PORT/PREFIX`. Decisions only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ....rpc.ports import is_loopback

PORT = 2379
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_RULE = "write etcd://HOST:PORT,HOST:PORT/PREFIX, or etcds:// for TLS"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to prove who we are, and who etcd is."""

    user: str = ""
    """Empty: etcd asks nobody."""
    password: str = ""
    ca: Path | None = None
    """Whom to believe, with TLS; None: those that gRPC believes."""
    certificate: Path | None = None
    """Our own, where etcd asks for one; with `key`."""
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class EtcdAddress:
    """Which etcd, and which part of it is ours."""

    endpoints: tuple[str, ...]
    """HOST:PORT of one or several members of one cluster."""
    prefix: str
    """All keys begin with `/PREFIX/`."""
    tls: bool

    def check(self, *, insecure: bool) -> None:
        """Raise ValueError if what is written could be read or changed on its way, unless that is `insecure`."""
        open_ones = [endpoint for endpoint in self.endpoints if not is_loopback(_host(endpoint))]
        if open_ones and not self.tls and not insecure:
            raise ValueError(
                f"etcd at {open_ones[0]} is on another machine, and nothing would be encrypted: "
                "use etcds://, or give --etcd-insecure if the network itself is safe"
            )


def parse(url: str) -> EtcdAddress:
    """The address that a URL names. Raises ValueError, saying how to write one."""
    parts = urlsplit(url)
    if parts.scheme not in ("etcd", "etcds"):
        raise ValueError(f"{url!r} names no store; {_RULE}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("the address of etcd holds hosts and a prefix only; the password is PENSTOCK_ETCD_PASSWORD")
    prefix = parts.path.strip("/") or "penstock"
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} is no prefix for keys: letters, digits, '.', '_', '-', with '/' between; {_RULE}")
    endpoints = tuple(dict.fromkeys(_endpoint(part.strip(), url) for part in parts.netloc.split(",")))
    return EtcdAddress(endpoints, prefix, parts.scheme == "etcds")


def _endpoint(text: str, url: str) -> str:
    named = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::([0-9]{1,5}))?", text)
    if named is None or not 0 < int(named[2] or PORT) < 65536:
        raise ValueError(f"{url!r} names no hosts; {_RULE}")
    return f"{named[1]}:{named[2] or PORT}"


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")
