"""Unix sockets that only this user can reach, and files of servers that were killed."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BACKLOG = 128
_MAX_PATH_BYTES = 103  # of the systems that are served, macOS allows the least


def connect_socket(path: str) -> socket.socket:
    """A connected socket that does not block. The caller closes it.

    Raises:
        OSError: nobody answers there, or not a process of this user.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _require_short(path)
        sock.connect(path)  # at once, or it fails: there is no network in between
        require_same_user(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def require_same_user(sock: socket.socket) -> None:
    """Refuse to speak with another user's process, where the system tells.

    Raises:
        PermissionError: it is one.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return  # then the permissions of file and folder must do
    _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"the other end of the socket belongs to user {uid}, not {os.geteuid()}")


def listen_socket(path: str) -> socket.socket:
    """A listening socket that does not block, for this user only. The caller closes it and removes the file.

    The folder is made if it is missing, for this user only. The file of a server that was killed is replaced.

    Raises:
        OSError: somebody answers there (EADDRINUSE), or it cannot be made.
    """
    _require_short(path)
    folder = Path(path).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        with _locked(folder):  # two successors must not remove each other's file
            _remove_stale(path)
            listener.bind(path)
            os.chmod(path, 0o600)  # before it listens: until then nobody can connect
            listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def remove_socket(path: str, inode: int) -> None:
    """Remove a server's file, unless a successor has put another in its place."""
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except FileNotFoundError:
        pass


def _require_short(path: str) -> None:
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        text = f"a socket's path may have {_MAX_PATH_BYTES} bytes; choose a shorter folder"
        raise OSError(errno.ENAMETOOLONG, text, path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for microseconds
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket; move it, or choose another", path)
        connect_socket(path).close()
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)  # nobody listens: the server was killed
        return
    raise OSError(errno.EADDRINUSE, "another process answers there", path)
