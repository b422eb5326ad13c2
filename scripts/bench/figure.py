"""One line of the table: what was measured, against what, and whether it is enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Must(StrEnum):
    """How `ours` and `reference` are compared with what is asked."""

    AT_MOST = "≤"
    """ours / reference must not be greater."""
    AT_LEAST = "≥"
    """ours / reference must not be less."""
    ADDED = "+≤"
    """ours - reference must not be greater."""
    NOTHING = ""
    """For comparison only."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure."""

    name: str
    ours: float
    reference: float
    unit: str
    kind: Must = Must.NOTHING
    must: float = 0.0
    note: str = ""
    """What a reader must know to judge it: the lane, what the reference is."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    """Everything that was measured for it."""

    @property
    def value(self) -> float:
        """What is compared with `must`."""
        if self.kind is Must.ADDED:
            return self.ours - self.reference
        return self.ours / self.reference if self.reference else float("nan")

    @property
    def verdict(self) -> str:
        """`met`, `short`, or nothing where nothing is asked. Not a number is short."""
        if self.kind is Must.NOTHING:
            return ""
        enough = self.value >= self.must if self.kind is Must.AT_LEAST else self.value <= self.must
        return "met" if enough else "SHORT"

    def facts(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {
            "figure": self.name,
            "ours": self.ours,
            "reference": self.reference,
            "unit": self.unit,
            "value": round(self.value, 4),
            "must": f"{self.kind} {self.must:g}" if self.kind else "",
            "verdict": self.verdict,
            "note": self.note,
            "raw": dict(self.raw),
        }
