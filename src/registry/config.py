"""What a registry is told at start, and whether it can be run like that. Decisions only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..rpc.ports import is_loopback
from .collector import GRACE_S as GC_GRACE_S
from .collector import INTERVAL_S, KEEP_S
from .leases import TTL_S
from .limits import DEFAULT_LIMITS, Limits
from .origins.origins import LIMIT_S
from .placement import KEEP_WARM_S
from .stores.etcd.address import Credentials, parse

__all__ = ["Credentials", "RegistryConfig"]

SQLITE = "sqlite"


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """What a registry is told at start."""

    data_dir: Path
    """Made with mode 0700 if it is not there: registry.db, artifacts/, and with keys admin.key."""
    host: str = "127.0.0.1"
    port: int = 8010
    """0: any that is free."""
    auth: str = "off"
    """`off`: everybody may do everything. `keys`: API keys with the scope `admin` may."""
    lease_ttl: float = TTL_S
    """Seconds."""
    keep_warm: float = KEEP_WARM_S
    """Seconds for which a version stays loaded after the last alias has left it."""
    memory_budget: int = 0
    """Bytes that all workers together may take. 0: no bound."""
    max_loaded: int = 0
    """Versions that may be loaded at once. 0: no bound."""
    limits: Limits = DEFAULT_LIMITS
    """How much the store may hold."""
    gc_grace: float = GC_GRACE_S
    """Seconds for which a file stays that no version needs."""
    gc_interval: float = INTERVAL_S
    """Seconds between two collections of such files; 0: none without `penstock gc`."""
    upload_keep: float = KEEP_S
    """Seconds for which an upload that broke off may go on."""
    artifact_urls: str = ""
    """URLs below which versions may be fetched, separated by spaces; empty: none."""
    url_timeout: float = LIMIT_S
    """Seconds that fetching one version may take."""
    signatures: str = "off"
    """See `signing.Trust`."""
    trusted_keys: str = ""
    """A file with the public keys that count, in PEM."""
    insecure: bool = False
    """Listen on an address that others can reach, though nothing is encrypted."""
    store: str = SQLITE
    """`sqlite`: a file in the data folder. `etcd://HOST:PORT,…/PREFIX`: several registries may share it."""
    advertise: str = ""
    """Where the other registries reach this one; empty: where it listens."""
    credentials: Credentials = field(default_factory=Credentials)
    """For etcd."""
    etcd_insecure: bool = False
    """Speak to an etcd on another machine though nothing is encrypted."""

    def check(self) -> None:
        """Raise ValueError, saying how to mend it, if the registry cannot be run like this."""
        if self.auth not in ("off", "keys"):
            raise ValueError(f"unknown --auth {self.auth!r}; known are off, keys")
        if not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"others can reach {self.host}, and the registry's port is not encrypted: "
                "listen on 127.0.0.1, or give --insecure if the network itself is safe"
            )
        if self.lease_ttl <= 0 or self.keep_warm < 0:
            raise ValueError("the lease's TTL must be above 0 s, and keep-warm not below")
        if self.memory_budget < 0 or self.max_loaded < 0:
            raise ValueError("the bounds on memory and loaded versions must not be below 0")
        if self.store != SQLITE:
            parse(self.store).check(insecure=self.etcd_insecure)
            if self.host in ("0.0.0.0", "::", "") and not self.advertise:
                raise ValueError("say with --advertise HOST:PORT where other registries reach this one")
