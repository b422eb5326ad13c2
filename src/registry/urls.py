"""Which URLs a version may be fetched from. Decisions only.

Who may publish chooses the URL, and the registry stands where a publisher may not: inside the network, with credentials
of its own. So it reads only below what its operator has listed, follows no redirect out of that, and connects to no
address that only this host, or its cloud's metadata service, has.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from ..errors import InvalidArgument, OriginNotAllowed, Violation
from .names import quoted

WEB = {"http": 80, "https": 443}
OBJECTS = ("s3", "gs", "az")
SCHEMES = (*OBJECTS, *WEB)
MAX_URL = 2048
MAX_REDIRECTS = 5

_PLAIN = re.compile(r"[!-\[\]-~]+")
"""Printable ASCII without spaces and backslashes."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?|[0-9a-f:.]*:[0-9a-f:.]*")
"""A name, or an address."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OWN_HOSTS = ("localhost", "127.0.0.1", "::1")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Url:
    """A URL that is well formed."""

    scheme: str
    host: str
    """Of objects the bucket, or Azure's container."""
    port: int
    """0: objects have none."""
    path: str
    """As it was written, beginning with '/'; one that ends with '/' is a folder."""
    query: str = ""
    sha256: str = ""
    """What the file must be; empty: not said."""

    @property
    def name(self) -> str:
        """The file's name; empty for a folder."""
        return unquote(self.path.rpartition("/")[2])

    @property
    def authority(self) -> str:
        """Host and port; the port only if it is not the scheme's own."""
        port = f":{self.port}" if self.port not in (0, WEB.get(self.scheme)) else ""
        return (f"[{self.host}]" if ":" in self.host else self.host) + port

    def __str__(self) -> str:
        """As it may stand in a message: a query may hold a password."""
        return f"{self.scheme}://{self.authority}{self.path}"


def parse(text: str) -> Url:
    """Understand a URL.

    Raises:
        InvalidArgument: it is none, or one that the registry does not read; the message says what is wrong with it.
    """
    problem = _problem(text)
    if problem:
        raise InvalidArgument(f"url: {problem}", violations=[Violation("url", problem)])
    parts = urlsplit(text)
    port = parts.port or WEB.get(parts.scheme, 0)
    host = parts.hostname or "" if parts.scheme in WEB else parts.netloc
    pinned = parts.fragment.removeprefix("sha256=")
    return Url(parts.scheme, host, port, parts.path or "/", parts.query, pinned)


def _problem(text: str) -> str:
    if not _PLAIN.fullmatch(text) or len(text) > MAX_URL:
        return f"a URL has from 1 to {MAX_URL} characters of ASCII, without spaces and backslashes"
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # raises ValueError
    except ValueError:
        return f"{quoted(text.partition('?')[0])} is no URL"
    if parts.scheme not in SCHEMES:
        return f"the scheme {quoted(parts.scheme)} is not read; known are {', '.join(SCHEMES)}"
    if "@" in parts.netloc:
        return "a URL must not hold a name or a password; give the registry credentials of its own"
    if parts.scheme in WEB and not _HOST.fullmatch(parts.hostname or ""):
        return "the host is missing, or none"
    if parts.scheme in OBJECTS and (not _BUCKET.fullmatch(parts.netloc) or parts.query or "%" in parts.path):
        return "it must be a bucket and a key, without port, query and '%'"
    *above, last = parts.path.split("/")[1:] or [""]
    if any(map(_bad_part, above)) or (last and _bad_part(last)):
        return "its path must not have an empty part, '.' or '..'"
    if parts.fragment and not _SHA256.fullmatch(parts.fragment.removeprefix("sha256=")):
        return "after '#' only sha256= and 64 lower case hexadecimal digits may stand"
    return ""


def _bad_part(part: str) -> bool:
    plain = unquote(part)
    return plain in ("", ".", "..") or any(sign in plain for sign in "/\\\0")


def read_allowed(text: str) -> tuple[Url, ...]:
    """The setting: URLs, separated by spaces, below which the registry may read.

    Raises:
        ValueError: one of them is no URL.
    """
    found = []
    for word in text.split():
        try:
            found.append(parse(word))
        except InvalidArgument as error:
            raise ValueError(f"artifact_urls: {word}: {error.message}") from None
    return tuple(found)


def check_allowed(url: Url, allowed: Iterable[Url]) -> None:
    """Raise OriginNotAllowed unless the URL lies below one that is listed, or is one."""
    if not any(_below(url, listed) for listed in allowed):
        text = f"{url} is not below a URL that this registry may read (setting artifact_urls)"
        raise OriginNotAllowed(f"{text}; upload the files, or ask its operator")


def _below(url: Url, listed: Url) -> bool:
    if (url.scheme, url.host, url.port) != (listed.scheme, listed.host, listed.port):
        return False
    return url.path == listed.path or url.path.startswith(listed.path.rstrip("/") + "/")


def redirected(url: Url, location: str, allowed: Sequence[Url]) -> Url:
    """Where a server sends us.

    Raises:
        InvalidArgument, OriginNotAllowed: it may not be read either, or would not be encrypted any more.
    """
    target = parse(urljoin(f"{url}", location).partition("#")[0])
    if target.scheme not in WEB or (url.scheme, target.scheme) == ("https", "http"):
        raise OriginNotAllowed(f"{url} leads to {target.scheme}, which is not followed")
    check_allowed(target, allowed)
    return target


def check_address(url: Url, address: str) -> None:
    """Raise OriginNotAllowed if a host's name means an address that no file server has.

    Args:
        url: whose host was looked up. One that is this host by its very name may be so: the operator has listed it.
        address: what was found.
    """
    ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_loopback and url.host in _OWN_HOSTS:
        return
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        raise OriginNotAllowed(f"the host {quoted(url.host)} means an address that the registry does not connect to")


def _plain(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """What an IPv6 address stands for, if it only carries one of IPv4."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
