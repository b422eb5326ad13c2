"""Whether a failed call is tried again, and after how long. Decisions only."""

from __future__ import annotations

import math
from random import Random

from grpc import StatusCode

from ..errors import PenstockError, StreamBroken

FIRST_BACKOFF = 0.05
MAX_BACKOFF = 1.0


def retry_delay(error: PenstockError, attempt: int, remaining: float, random: Random) -> float | None:
    """Seconds until the next attempt, or None: give up.

    Only UNAVAILABLE is tried again: it promises that the call was not run or can safely be run twice. The wait is what
    the server asks for and then, so that callers do not come back all at once, a random part of a backoff that doubles.

    Args:
        error: how the attempt ended.
        attempt: how many came before it, from 0.
        remaining: seconds until the deadline; may be infinite.
        random: where the jitter comes from.
    """
    if error.code is not StatusCode.UNAVAILABLE or isinstance(error, StreamBroken):
        return None
    ceiling = min(MAX_BACKOFF, math.ldexp(FIRST_BACKOFF, min(attempt, 16)))
    delay = (error.retry_after or 0.0) + random.uniform(0.0, ceiling)
    return delay if delay < remaining else None


class Attempts:
    """The attempts of one call: how many are left, and how much time. Belongs to that call.

    Args:
        retries: how many may follow the first; may be infinite.
        deadline: when all must be over, on the clock that `now` is read from; may be infinite.
        random: where the jitter comes from.
    """

    def __init__(self, retries: float, deadline: float, random: Random) -> None:
        self._retries = retries
        self._deadline = deadline
        self._random = random
        self._made = 0

    def timeout(self, now: float) -> float | None:
        """Seconds that the next attempt may take; None: as long as it likes."""
        return None if math.isinf(self._deadline) else max(self._deadline - now, 0.0)

    def delay(self, error: PenstockError, now: float) -> float | None:
        """Seconds until the next attempt, or None: give up."""
        attempt, self._made = self._made, self._made + 1
        if attempt >= self._retries:
            return None
        return retry_delay(error, attempt, self._deadline - now, self._random)
