"""What a run of load gave, request by request: the raw material of all figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

OK = "OK"


@dataclass(frozen=True, slots=True)
class Samples:
    """Columns: entry `i` of each is request `i`. Times in seconds since the run began."""

    begin: float
    """When the measured seconds began; what was due before is warm-up."""
    end: float
    due: Sequence[float]
    """When it was to be sent; in a closed loop, when it was."""
    late: Sequence[float]
    """How much later than that it was sent."""
    took: Sequence[float]
    """From when it was due until its outcome was known."""
    kinds: Sequence[int]
    """Its outcome, as an index of `names`."""
    names: Sequence[str] = (OK,)
    """`OK`, or code and reason: `RESOURCE_EXHAUSTED QUEUE_FULL`."""
    client_cpu_s: float = 0.0
    """CPU time of the generator during the measured seconds."""
    cpu_s: Mapping[int, float] = field(default_factory=dict)
    """CPU time of watched processes during the measured seconds, by process id."""

    def to_json(self) -> str:
        """One line, times to the microsecond."""
        columns = {name: [round(time, 6) for time in getattr(self, name)] for name in ("due", "late", "took")}
        return json.dumps(asdict(self) | columns)

    @classmethod
    def from_json(cls, text: str) -> Samples:
        """What `to_json` wrote."""
        fields = json.loads(text)
        fields["cpu_s"] = {int(pid): seconds for pid, seconds in fields["cpu_s"].items()}
        return cls(**fields)


def merge(parts: Sequence[Samples]) -> Samples:
    """The requests of several generators that ran at the same time."""
    names = [OK, *sorted({name for part in parts for name in part.names} - {OK})]
    index = {name: number for number, name in enumerate(names)}
    return Samples(
        begin=max(part.begin for part in parts),
        end=min(part.end for part in parts),
        due=[time for part in parts for time in part.due],
        late=[time for part in parts for time in part.late],
        took=[time for part in parts for time in part.took],
        kinds=[index[part.names[kind]] for part in parts for kind in part.kinds],
        names=names,
        client_cpu_s=sum(part.client_cpu_s for part in parts),
        cpu_s={pid: seconds for part in parts for pid, seconds in part.cpu_s.items()},
    )
