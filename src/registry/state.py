"""The values that the registry knows: models, versions, aliases, workers, keys. No rules, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from ..optimization import Optimization, Optimized
from ..servable import Padding
from ..signature import Signature
from .traffic import AliasTraffic

STABLE = "stable"
"""The alias that is meant when a request says nothing; every model has it."""


class Placement(IntEnum):
    """What decides whether a version is loaded. Numbers are those of penstock.v1.Placement."""

    AUTO = 1
    PINNED = 2
    UNDEPLOYED = 3


class State(IntEnum):
    """Where a version or a worker is in its life. Numbers are those of penstock.v1.ModelState."""

    START = 1
    LOADING = 2
    AVAILABLE = 3
    UNLOADING = 4
    END = 5


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a version; `path` is relative with '/' between its parts, `size` in bytes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Batching:
    """How a worker joins requests; 0 everywhere means the worker's default."""

    max_batch_size: int = 0
    max_queue_delay_s: float = 0.0
    max_queue_size: int = 0
    padding: Padding | None = None
    """None: what the model itself says."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Which of a version's files are examples, and how near its answers must come to the golden one's."""

    golden: str = ""
    warm_up: str = ""
    rtol: float | None = None
    """None, here and below: by the type of the output."""
    atol: float | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a published version consists of. It never changes."""

    name: str
    version: int
    format: str
    entry: str
    files: tuple[FileEntry, ...]
    batching: Batching = Batching()
    created: float = 0.0
    """Unix time in seconds, whole milliseconds."""
    labels: Mapping[str, str] = field(default_factory=dict)
    examples: Examples = Examples()
    optimization: Optimization = Optimization.NONE


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions are loaded besides those that an alias means; nothing set: the newest."""

    latest: int = 0
    """So many, the newest."""
    pinned: tuple[int, ...] = ()
    """These."""
    all: bool = False


@dataclass(frozen=True, slots=True)
class ServingPolicy:
    """Which versions of a model are loaded, how often, where and for how long."""

    versions: VersionPolicy = VersionPolicy()
    instances: int = 0
    """Of a version that does not say so itself. 0: one."""
    device: str = ""
    """Of a version that does not say so itself. Empty: `auto`."""
    keep_warm_s: float | None = None
    """Seconds that a version stays loaded after the last alias has left it; None: as the registry was told."""
    resource_preserving: bool = False
    """Where there is no room for the old and the new version, unload the old one first."""
    lazy: bool = False
    """Load what is not pinned when it is first asked for, and unload it when it is not used any more."""
    idle_s: float | None = None
    """Seconds that a lazy model's version stays loaded after its last use; None: the default."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants to publish."""

    name: str
    version: int
    """0: one more than the greatest so far."""
    format: str
    entry: str
    files: tuple[FileEntry, ...]
    batching: Batching = Batching()
    labels: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    instances: int = 0
    """0: as the model's policy says."""
    device: str = ""
    """Empty: as the model's policy says."""
    examples: Examples = Examples()
    optimization: int = Optimization.NONE
    """May be a number that means nothing."""
    serving: ServingPolicy = ServingPolicy()
    """Of a model that is new."""
    url: str = ""
    """Where its other files are fetched from; empty: `files` are all."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version, with what operators and workers added to it."""

    manifest: Manifest
    signature: Signature | None = None
    """None until a worker has loaded it once."""
    placement: Placement = Placement.AUTO
    instances: int = 0
    """0: as the model's policy says."""
    device: str = ""
    """Empty: as the model's policy says."""
    memory: int = 0
    """Bytes of the first worker that had loaded it; 0: not known."""

    @property
    def number(self) -> int:
        """The version's number."""
        return self.manifest.version


@dataclass(frozen=True, slots=True)
class AliasChange:
    """What an alias meant from `time` (unix seconds) on, and before. 0: nothing."""

    alias: str
    version: int
    previous: int
    time: float
    principal: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is served, apart from what each of its versions says."""

    serving: ServingPolicy = ServingPolicy()
    traffic: tuple[AliasTraffic, ...] = ()
    """By alias; only those that have or had a split, a shadow or a canary."""
    deleted_up_to: int = 0
    """The greatest number of a version that was deleted; numbers up to it are not given again. 0: none was."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model with all its versions."""

    name: str
    versions: tuple[Version, ...] = ()
    """In the order of their publication: the last one is the newest, whatever its number."""
    aliases: Mapping[str, int] = field(default_factory=dict)
    changes: tuple[AliasChange, ...] = ()
    """The oldest first; see `rules.remembered` for how many."""
    settings: Settings = Settings()

    def version(self, number: int) -> Version | None:
        """The version of that number."""
        return next((v for v in self.versions if v.number == number), None)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A worker's own figures, counted since it began, except for the rows that wait now."""

    queued_rows: int = 0
    rows: int = 0
    batches: int = 0
    failures: int = 0
    padded_share: float = 0.0
    """Of the elements that went to the device, how many were filled in."""
    memory: int = 0
    """Resident bytes."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: loading (epoch 0), or with a lease."""

    worker_id: str
    name: str
    version: int
    epoch: int = 0
    address: str = ""
    device: str = ""
    state: State = State.LOADING
    stage: str = ""
    progress: float = 0.0
    max_batch_size: int = 0
    pid: int = 0
    local_address: str = ""
    """The unix socket for gateways on its host; empty: there is none."""
    report: LoadReport = LoadReport()
    optimized: Optimized | None = None
    """How it computes; None: it was not asked to look for a better way."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is stored of an API key; `created` in unix seconds."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    sha256: bytes
    created: float


DONE, UNCHANGED = "DONE", "UNCHANGED"
"""Outcomes of calls that were not refused."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One call that changed something, or should have: a line of the log."""

    time: float
    """Unix seconds."""
    principal: str
    action: str
    """The method."""
    subject: str
    """The model, the owner or the id of the key, or the worker."""
    change: str
    """What is different now, for a person; of a call that was refused, why."""
    outcome: str
    """DONE, UNCHANGED, or the reason of the error."""
    request_id: str = ""
    id: int = 0
    """Given by the store: greater than that of every earlier line."""


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A load that failed."""

    error: str
    tries: int = 0
    """How many have failed in a row; 0: not known."""
    next: float = 0.0
    """When the next one begins, in unix seconds; 0: never, until the version is deployed again."""


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version with what follows from the rules and the workers."""

    version: Version
    desired_instances: int
    state: State
    load_error: str
    """Why the last load failed; empty: it did not."""
    device: str = "auto"
    warm_until: float = 0.0
    """In unix seconds: until then it is loaded only because an alias meant it; 0: for another reason, or not at all."""
    last_failure: LoadFailure | None = None
    """Since the last good load."""
    deployment: int = 0
    """Grows with every deployment."""
    waits: str = ""
    """Why it is not loaded although it should be; empty: it is, or should not."""
    memory: int = 0
    """Bytes of the greatest of its workers, or of the one that loaded it; 0: not known."""
    on_demand: bool = False
    """Whether it is loaded is decided by its use."""


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model as followers see it."""

    name: str
    versions: tuple[VersionView, ...]
    aliases: Mapping[str, int]
    settings: Settings = Settings()
