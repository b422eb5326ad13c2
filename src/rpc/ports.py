"""Addresses to listen on: free ones, taken ones (and by whom), and those that need courage."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path


class PortTaken(Exception):
    """Another process listens there; the message names it if it can be seen."""


def reserve(host: str, port: int, setting: str) -> int:
    """Make sure that the port is free and say which it is (0 means any).

    The port is not held; whoever binds it right after may still lose a race, and then says so itself.

    Raises:
        PortTaken: with the holder's name and the setting to change.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Without SO_REUSEPORT the bind fails also when the holder has set it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _taken(error, host, port, setting) from None
        return int(probe.getsockname()[1])


def listen(host: str, port: int, setting: str, *, share: bool = False) -> socket.socket:
    """A listening socket, for servers that take one. The caller closes it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise _taken(error, host, port, setting) from None
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class PublicBind(Exception):
    """Others could connect to a server that is not protected."""


def require_courage(host: str, insecure: bool, setting: str) -> None:
    """Refuse to serve other hosts without TLS unless that was asked for.

    Raises:
        PublicBind: the address is public.
    """
    if not insecure and not is_loopback(host):
        raise PublicBind(f"{setting} {host} lets other hosts connect without TLS; if that is wanted, add --insecure")


def _taken(error: OSError, host: str, port: int, setting: str) -> Exception:
    if error.errno != errno.EADDRINUSE:
        return PortTaken(f"cannot listen on {host}:{port}: {error.strerror}; choose another with {setting}")
    holder = next(holders(port), "a process of another user")
    return PortTaken(f"port {port} is taken by {holder}; stop it, or choose another port with {setting}")


def holders(port: int) -> Iterator[str]:
    """The processes that listen on a port, as far as /proc shows them: `pid 123 (nginx)`."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone, or not ours to look into
            if any(_link(fd) in inodes for fd in (process / "fd").iterdir()):
                yield f"pid {process.name} ({(process / 'comm').read_text().strip()})"


def _link(descriptor: Path) -> str:
    """What a descriptor is; empty if it was closed while we looked, as one of our own always is."""
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:
        return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]
