"""The process: pairs of answers come on standard input, which is a socket, and what they differ by leaves by it."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import astuple

from .answers import compare

REQUEST, REPLY = struct.Struct("<II"), struct.Struct("<?dddQQ")
"""As gateway.comparer has them."""
_NICE = 10
"""Whoever serves callers goes first."""


def main() -> None:
    """Compare until the other end is closed."""
    os.nice(_NICE)
    with socket.socket(fileno=0) as link, link.makefile("rb") as requests:
        while len(header := requests.read(REQUEST.size)) == REQUEST.size:
            sizes = REQUEST.unpack(header)
            one, other = (requests.read(size) for size in sizes)
            if (len(one), len(other)) != sizes:
                return
            link.sendall(REPLY.pack(*astuple(compare(one, other))))


if __name__ == "__main__":
    main()
