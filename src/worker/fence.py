"""Which lease a caller means: an address may have been another worker's."""

from __future__ import annotations

from ..errors import LeaseFenced


class Fence:
    """Lets those pass who mean this worker. `epoch` is set when the lease is taken; 0 lets everybody pass (tests)."""

    def __init__(self) -> None:
        self.epoch = 0

    def check(self, meant: str) -> None:
        """Refuse whoever means another worker.

        Args:
            meant: the epoch that the caller has read in the registry; empty or 0: any.

        Raises:
            LeaseFenced: it is not this one's.
        """
        if meant not in ("", "0") and self.epoch and meant != str(self.epoch):
            raise LeaseFenced(
                f"the request is for epoch {meant[:20]}, this worker has {self.epoch}; read the registry again"
            )
