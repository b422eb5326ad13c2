"""What a metric is told apart by."""

from __future__ import annotations


class Dimension:
    """A name and a value."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value = name, value

    def __str__(self) -> str:
        return f"{self.name}:{self.value}"
