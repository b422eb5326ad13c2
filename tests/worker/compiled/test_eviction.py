from __future__ import annotations

import pytest

from penstock.worker.compiled.eviction import Kept, evicted

KEPT = [Kept("a", 30, 3.0), Kept("b", 30, 1.0), Kept("c", 30, 2.0)]


@pytest.mark.parametrize(
    ("most", "needed", "gone"),
    [
        (90, "a", []),
        (89, "a", ["b"]),
        (60, "a", ["b"]),
        (59, "a", ["b", "c"]),
        (59, "b", ["c", "a"]),
        (0, "a", ["b", "c"]),
    ],
)
def test_the_least_recently_used_go_and_never_what_is_needed(most: int, needed: str, gone: list[str]) -> None:
    assert evicted(KEPT, most, needed) == gone


def test_an_empty_cache_gives_up_nothing() -> None:
    assert evicted([], 0, "a") == []
