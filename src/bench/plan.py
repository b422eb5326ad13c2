"""What a load generator is to do: one value, that travels to its process as JSON."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

PREDICT = "/penstock.v1.PredictService/Predict"
LANES = ("unary", "stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run against one address. Exactly one of `rate` and `concurrency` is set."""

    address: str
    bodies: tuple[bytes, ...]
    """Serialised requests, sent in turn."""
    lane: str = "unary"
    """`unary`: one call per request. `stream`: PredictStream; what is due at one wake-up leaves in one message."""
    method: str = PREDICT
    """Of unary calls."""
    rate: float = 0.0
    """Open loop: requests per second that arrive at random (Poisson), whatever becomes of those before."""
    concurrency: int = 0
    """Closed loop: so many requests are always in flight."""
    duration: float = 10.0
    """Seconds that are measured."""
    warmup: float = 1.0
    """Seconds of the same load before, which are not."""
    deadline: float = 0.0
    """Seconds that the server is given for each request, counted from its scheduled arrival. 0: no limit."""
    seed: int = 0
    connections: int = 4
    headers: tuple[tuple[str, str], ...] = ()
    """Metadata of every call."""
    cancel_share: float = 0.0
    """The share of unary calls whose caller gives up ..."""
    cancel_within: float = 0.05
    """... at a random moment, within so many seconds."""
    watched: tuple[int, ...] = ()
    """Processes whose CPU time during the measured seconds is wanted."""

    def __post_init__(self) -> None:
        if (self.rate > 0) == (self.concurrency > 0):
            raise ValueError("give a rate (open loop) or a concurrency (closed loop), and not both")
        if self.lane not in LANES:
            raise ValueError(f"lane is one of {', '.join(LANES)}, got {self.lane!r}")
        if self.duration <= 0 or self.warmup < 0 or self.deadline < 0:
            raise ValueError("the duration must be positive, warm-up and deadline not negative")
        if self.connections < 1 or not self.bodies:
            raise ValueError("at least one connection and one request are needed")

    def to_json(self) -> str:
        """One line."""
        bodies = [base64.b64encode(body).decode() for body in self.bodies]
        return json.dumps(asdict(self) | {"bodies": bodies})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """What `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["bodies"] = tuple(map(base64.b64decode, fields["bodies"]))
        fields["headers"] = tuple((key, value) for key, value in fields["headers"])
        fields["watched"] = tuple(fields["watched"])
        return cls(**fields)

    def split(self, parts: int) -> list[Plan]:
        """The same load from several processes: thinned Poisson arrivals are Poisson arrivals. One of them watches."""
        if parts < 1 or 0 < self.concurrency < parts:
            raise ValueError(f"{self.concurrency or 'a load'} cannot be split among {parts} processes")
        return [
            replace(
                self,
                rate=self.rate / parts,
                concurrency=(self.concurrency + part) // parts,
                seed=self.seed + 1000 * part,
                watched=self.watched if part == 0 else (),
            )
            for part in range(parts)
        ]
