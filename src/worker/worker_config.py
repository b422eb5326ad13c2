"""What one worker is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What one worker is to hold, and where it is reached."""

    name: str
    version: int
    worker_id: str
    listen: str
    """`unix:PATH`, or `HOST:PORT` for gateways on other hosts."""
    cache_dir: Path
    """Where the files of versions are kept between starts; shared by the workers of a host."""
    registry: str = "127.0.0.1:8010"
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`. `auto` is a GPU where torch finds one."""
    index: int = 0
    """Which of the version's instances this is; spreads `auto` over the GPUs."""
    threads: int = 0
    """For torch's own parallelism on CPU; 0: half of the cores."""
    api_key: str = ""
    """For the registry."""
    insecure: bool = False
    """Listen on an address that others can reach, although a worker asks nobody who is calling."""
    lame_duck: float = 1.0
    """Seconds between the announcement of a drain and the refusal of new requests."""
    grace: float = 20.0
    """Seconds for what is queued when the worker stops."""
    cache_keep: float = 7 * 86400.0
    """Seconds for which files in the cache stay that no worker holds."""
    max_cache_bytes: int = 256 * 1024**3
    """What the cache may have in it; only what no worker holds can go."""
    signatures: str = "off"
    """See `signing.Trust`; this worker's own setting, whatever the registry thinks."""
    trusted_keys: str = ""
    """A file with the public keys that count, in PEM."""
