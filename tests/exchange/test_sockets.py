from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from penstock.exchange.sockets import connect_socket, listen_socket, remove_socket, require_same_user


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "worker.sock")


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_only_this_user_can_reach_the_socket(path: str) -> None:
    with listen_socket(path):
        assert mode(path) == 0o600
        assert mode(Path(path).parent) == 0o700


def test_a_folder_that_is_there_keeps_its_mode(path: str) -> None:
    Path(path).parent.mkdir(mode=0o755)
    with listen_socket(path):
        assert mode(Path(path).parent) == 0o755


def test_the_file_of_a_server_that_was_killed_is_replaced(path: str) -> None:
    listen_socket(path).close()
    assert Path(path).exists()
    with listen_socket(path), connect_socket(path):
        pass


def test_a_socket_on_which_somebody_answers_is_left_alone(path: str) -> None:
    with listen_socket(path):
        with pytest.raises(OSError, match="another process answers there") as refused:
            listen_socket(path)
        assert refused.value.errno == errno.EADDRINUSE
        connect_socket(path).close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="no socket"):
        listen_socket(str(file))
    assert file.read_text() == "mine"


def test_a_successors_file_is_not_removed_by_its_predecessor(path: str) -> None:
    with listen_socket(path):
        inode = os.stat(path).st_ino
        os.rename(path, path + ".old")
    with listen_socket(path):
        remove_socket(path, inode)
        connect_socket(path).close()
        remove_socket(path, os.stat(path).st_ino)
        assert not Path(path).exists()
        remove_socket(path, inode)


def test_a_path_that_no_socket_can_have_says_so(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 100))
    for do in (listen_socket, connect_socket):
        with pytest.raises(OSError, match="a shorter folder"):
            do(path)


def test_where_nobody_listens_connecting_fails_at_once(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        connect_socket(path)
    listen_socket(path).close()
    with pytest.raises(ConnectionRefusedError):
        connect_socket(path)


class _Strangers(socket.socket):
    """A socket whose other end belongs to another user."""

    def getsockopt(self, *args: int) -> bytes:  # type: ignore[override]
        assert args[1] == socket.SO_PEERCRED
        return (1).to_bytes(4, "little") + (os.geteuid() + 1).to_bytes(4, "little") + bytes(4)


def test_another_users_process_is_refused() -> None:
    refused = pytest.raises(PermissionError, match=f"belongs to user {os.geteuid() + 1}")
    with _Strangers(socket.AF_UNIX, socket.SOCK_STREAM) as stranger, refused:
        require_same_user(stranger)
    one, other = socket.socketpair()
    with one, other:
        require_same_user(one)
