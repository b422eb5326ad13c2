from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from penstock.rpc.ports import PortTaken, PublicBind, is_loopback, listen, require_courage, reserve


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("example", False)],
)
def test_what_only_this_machine_can_reach(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_public_address_needs_courage() -> None:
    with pytest.raises(PublicBind, match=r"--host 0.0.0.0.*--insecure"):
        require_courage("0.0.0.0", False, "--host")
    require_courage("0.0.0.0", True, "--host")
    require_courage("127.0.0.1", False, "--host")


@pytest.mark.parametrize("take", [reserve, listen])
def test_a_taken_port_is_refused_with_its_holder_and_the_setting(take: Callable[[str, int, str], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(PortTaken) as refused:
            take("127.0.0.1", port, "--grpc-port")
    assert f"pid {os.getpid()}" in str(refused.value)
    assert "--grpc-port" in str(refused.value)


def test_several_may_share_a_port_on_purpose() -> None:
    with listen("127.0.0.1", 0, "--http-port", share=True) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port, "--http-port", share=True) as second:
            assert second.getsockname()[1] == port


def test_any_free_port_is_named() -> None:
    assert reserve("127.0.0.1", 0, "--grpc-port") > 0
