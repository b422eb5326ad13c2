"""Which lease a caller means: an address may have been another worker's."""

from __future__ import annotations

from collections import deque

from ..errors import LeaseFenced

_REMEMBERED = 16


class Fence:
    """Lets those pass who mean this worker. `epoch` is set when the lease is taken; 0 lets everybody pass (tests).

    The worker's own earlier epochs are as good: gateways hear a little later of a new one, or much later while they
    cannot reach the registry.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._earlier: deque[int] = deque(maxlen=_REMEMBERED)

    def renewed(self, epoch: int) -> None:
        """The worker has another lease."""
        self._earlier.append(self.epoch)
        self.epoch = epoch

    def check(self, meant: str) -> None:
        """Refuse whoever means another worker.

        Args:
            meant: the epoch that the caller has read in the registry; empty or 0: any.

        Raises:
            LeaseFenced: it is not this one's.
        """
        if meant in ("", "0") or not self.epoch or meant == str(self.epoch):
            return
        if meant not in map(str, self._earlier):
            raise LeaseFenced(
                f"the request is for epoch {meant[:20]}, this worker has {self.epoch}; read the registry again"
            )
