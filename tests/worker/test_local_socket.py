from __future__ import annotations

from pathlib import Path

import pytest

from penstock.worker.local_socket import local_socket


def test_it_stands_beside_the_grpc_socket() -> None:
    with local_socket("unix:/run/penstock/w.sock") as path:
        assert path == "/run/penstock/w.sock.x"


@pytest.mark.parametrize("listen", ["127.0.0.1:0", f"unix:/{'d' * 105}"])
def test_it_has_a_folder_of_its_own_if_there_is_none_or_the_path_would_be_too_long(listen: str) -> None:
    with local_socket(listen) as path:
        folder = Path(path).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(path) <= 107
        Path(path).touch()
    assert not folder.exists()
