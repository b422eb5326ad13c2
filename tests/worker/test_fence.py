from __future__ import annotations

import pytest

from penstock.errors import LeaseFenced
from penstock.worker.fence import Fence


def test_without_a_lease_everybody_passes() -> None:
    Fence().check("7")


@pytest.mark.parametrize("meant", ["", "0", "7"])
def test_who_means_this_worker_passes(meant: str) -> None:
    fence = Fence()
    fence.renewed(7)
    fence.check(meant)


def test_who_means_another_worker_is_refused() -> None:
    fence = Fence()
    fence.renewed(7)
    for meant in ("6", "8", "nonsense"):
        with pytest.raises(LeaseFenced):
            fence.check(meant)


def test_who_has_not_yet_heard_of_the_new_lease_means_the_same_worker() -> None:
    fence = Fence()
    for epoch in range(1, 30):
        fence.renewed(epoch)
    fence.check("20")
    with pytest.raises(LeaseFenced):
        fence.check("1")
