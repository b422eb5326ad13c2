from __future__ import annotations

import pytest

from penstock.registry.lifecycle import version_state
from penstock.registry.state import State

START, LOADING, AVAILABLE, UNLOADING, END = State


@pytest.mark.parametrize(
    ("desired", "workers", "error", "state"),
    [
        (1, [], "", START),
        (1, [LOADING], "", LOADING),
        (1, [LOADING], "boom", LOADING),  # another try
        (2, [LOADING, AVAILABLE], "", AVAILABLE),
        (1, [AVAILABLE], "boom", AVAILABLE),
        (1, [UNLOADING, AVAILABLE], "", AVAILABLE),
        (1, [UNLOADING, LOADING], "", LOADING),
        (1, [UNLOADING], "", START),  # a drained worker takes nothing new
        (1, [], "boom", END),
        (0, [], "", END),
        (0, [], "boom", END),
        (0, [AVAILABLE], "", UNLOADING),
        (0, [LOADING], "", UNLOADING),
        (0, [UNLOADING], "", UNLOADING),
    ],
)
def test_the_state_of_a_version(desired: int, workers: list[State], error: str, state: State) -> None:
    assert version_state(desired, workers, error) is state
