"""A worker as the registry knows it: where it is, and over what it can be reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A worker's place. A worker that registers anew (a greater epoch) is another endpoint."""

    worker_id: str
    epoch: int
    name: str
    version: int
    address: str
    draining: bool
    """It still answers, but nothing new should be sent while there is another."""
    local_address: str = ""
    """The socket for gateways on its host; empty: none."""

    def carriers(self, wanted: str) -> tuple[str, ...]:
        """Which carriers to try, the best first; none if the one that is demanded is not there.

        Args:
            wanted: `auto`, `unix` or `grpc`.
        """
        local = ("unix",) if self.local_address else ()
        return {"grpc": ("grpc",), "unix": local}.get(wanted, (*local, "grpc"))
