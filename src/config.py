"""The settings of every command: what they are, and where each value came from.

A flag is stronger than the environment (PENSTOCK_NAME), that is stronger than `penstock.toml`, that is stronger than
the default. All settings are in one flat list, so that one file and one environment serve all processes of a host.
"""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints


def _setting(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


DATA_DIR = Path(".penstock")


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting. `penstock config show` prints them."""

    address: str = _setting("127.0.0.1:8001", "the gateway that commands talk to")
    api_key: str = _setting("", "the key that commands and Penstock's own processes send")
    data_dir: Path = _setting(DATA_DIR, "where the registry, the artifacts and the logs are kept")
    host: str = _setting("127.0.0.1", "what gateways bind to")
    grpc_port: int = _setting(8001, "gRPC port of the gateways; 0: any free one")
    http_port: int = _setting(8000, "HTTP port of the gateways; 0: any free one")
    registry: str = _setting("127.0.0.1:8010", "where gateways and workers find the registry; several with commas")
    registry_host: str = _setting("127.0.0.1", "what the registry binds to")
    registry_port: int = _setting(8010, "port of the registry; 0: any free one")
    store: str = _setting("sqlite", "sqlite: a file in DATA; or etcd://HOST:PORT,HOST:PORT/PREFIX (etcds: with TLS)")
    advertise: str = _setting("", "where other registries over one etcd reach this one; empty: where it listens")
    etcd_user: str = _setting("", "who the registry is for etcd; empty: etcd asks nobody")
    etcd_password: str = _setting("", "the password of that user")
    etcd_ca: str = _setting("", "file with the certificates that prove etcd's; empty: those of the system")
    etcd_cert: str = _setting("", "file with the registry's own certificate for etcd, if it asks for one")
    etcd_key: str = _setting("", "file with the key of that certificate")
    etcd_insecure: bool = _setting(False, "speak to an etcd on another machine without TLS")
    gateways: int = _setting(1, "how many gateway processes `up` runs on one port")
    auth: str = _setting("off", "off: everybody on this host may do everything; keys: API keys")
    insecure: bool = _setting(False, "bind to a public address although there is no TLS")
    balancer: str = _setting("late_binding", "how workers are chosen; round_robin and others are for comparison")
    carrier: str = _setting("auto", "how gateways reach workers: unix (those on their host), grpc, or auto: the best")
    access_log: str = _setting("file", "file: DATA/logs/access.jsonl; off; or a path")
    log_level: str = _setting("info", "debug, info, warning or error")
    trace_exporter: str = _setting("off", "off, console or otlp")
    trace_ratio: float = _setting(0.01, "share of calls traced where the caller did not decide")
    max_message_bytes: int = _setting(64 * 1024 * 1024, "the greatest request or answer")
    max_in_flight: int = _setting(4096, "requests in flight in one gateway process")
    max_in_flight_bytes: int = _setting(1024**3, "bytes of requests in flight in one gateway process")
    default_timeout: float = _setting(60.0, "seconds for callers who set no deadline")
    keep_warm: float = _setting(300.0, "seconds that a version stays loaded after an alias left it")
    memory_budget: int = _setting(0, "bytes of memory that all workers together may take; 0: no bound")
    max_loaded: int = _setting(0, "versions that may be loaded at once; 0: no bound")
    lease_ttl: float = _setting(10.0, "seconds after which a silent worker is no longer listed")
    lame_duck: float = _setting(1.0, "seconds between `I am leaving` and the refusal of new requests")
    max_file_bytes: int = _setting(64 * 1024**3, "the greatest file of a version")
    max_version_bytes: int = _setting(256 * 1024**3, "all files of a version")
    max_store_bytes: int = _setting(0, "all files in the registry's store; 0: as much as the disk has")
    min_free_bytes: int = _setting(256 * 1024**2, "what uploads leave free on the registry's disk")
    max_unfinished_bytes: int = _setting(64 * 1024**3, "what is kept of uploads that broke off")
    cache_keep: float = _setting(7 * 86400.0, "seconds that a host keeps files of versions that no worker holds")
    max_cache_bytes: int = _setting(256 * 1024**3, "what a host keeps of them, with those that workers hold")
    artifact_urls: str = _setting("", "URLs below which the registry may fetch versions, separated by spaces")
    url_timeout: float = _setting(3600.0, "seconds that the registry may take to fetch one version")
    signatures: str = _setting("off", "required: only signed versions; check: no wrongly signed ones; off")
    trusted_keys: str = _setting("", "a file with the public keys whose signatures count (PEM, Ed25519)")
    upload_keep: float = _setting(24 * 3600.0, "seconds for which an upload that broke off may go on")
    gc_grace: float = _setting(3600.0, "seconds for which the registry keeps files that no version needs")
    gc_interval: float = _setting(600.0, "seconds between two removals of such files; 0: only by `penstock gc`")
    grace: float = _setting(20.0, "seconds for requests in flight when a process stops")
    spare: bool = _setting(True, "keep one worker process ready, with torch imported")
    threads: int = _setting(0, "threads of torch in each CPU worker; 0: half of the cores")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: `flag`, `environment`, a file's path, or `default`."""

    value: Any
    source: str


class BadSetting(Exception):
    """A setting has a value that it cannot have; the message names the setting and where it was read."""


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str] | None = None, file: Path | None = None
) -> tuple[Settings, dict[str, Origin]]:
    """Put the settings together.

    Args:
        flags: by setting; None means not given.
        environment: of the process if None.
        file: a TOML file that must be there; None: `penstock.toml` in the working directory, if it is there.

    Raises:
        BadSetting: an unknown name, a value of the wrong type, or a file that cannot be read.
    """
    environment = os.environ if environment is None else environment
    types = get_type_hints(Settings)
    origins = {f.name: Origin(f.default, "default") for f in fields(Settings)}
    path = file or Path(environment.get("PENSTOCK_CONFIG", "penstock.toml"))
    for key, value in _read(path, required=file is not None or "PENSTOCK_CONFIG" in environment).items():
        origins[key] = Origin(_typed(key, value, types[_known(key, str(path))], str(path)), str(path))
    for key in origins:
        name = f"PENSTOCK_{key.upper()}"
        if name in environment:
            origins[key] = Origin(_typed(key, environment[name], types[key], name), "environment")
        if flags.get(key) is not None:
            origins[key] = Origin(_typed(key, flags[key], types[key], _flag(key)), "flag")
    _check(origins)
    return Settings(**{key: origin.value for key, origin in origins.items()}), origins


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _read(path: Path, *, required: bool) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if required:
            raise BadSetting(f"there is no file {path}") from None
        return {}
    except (OSError, ValueError) as error:  # not TOML, or not even text
        raise BadSetting(f"{path} cannot be read: {error}") from None


def _known(key: str, source: str) -> str:
    names = [f.name for f in fields(Settings)]
    if key not in names:
        near = difflib.get_close_matches(key, names, 1)
        raise BadSetting(f"{source}: unknown setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return key


def _typed(key: str, value: Any, wanted: type, source: str) -> Any:
    try:
        if wanted is bool and isinstance(value, str):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        if not isinstance(value, (str, *_TAKES.get(wanted, (wanted,)))) or (
            isinstance(value, bool) != (wanted is bool)
        ):
            raise TypeError  # 1.5 is not the integer 1, and true is not 1
        return wanted(value)
    except (ValueError, TypeError, KeyError):
        raise BadSetting(f"{source}: {key} must be of type {wanted.__name__}, got {value!r}") from None


_CHOICES = {
    "auth": ("off", "keys"),
    "balancer": ("late_binding", "round_robin", "power_of_two_choices", "least_predicted_completion"),
    "carrier": ("auto", "unix", "grpc"),
    "signatures": ("off", "check", "required"),
    "trace_exporter": ("off", "console", "otlp"),
    "log_level": ("debug", "info", "warning", "error"),
}
_TAKES: Mapping[type, tuple[type, ...]] = {float: (int, float), Path: (Path,)}
"""What may stand for a value of a type, besides its text."""
_LEAST = {"gateways": 1, "max_message_bytes": 1024, "max_in_flight": 1, "max_in_flight_bytes": 1024, "lease_ttl": 0.1}
_MOST = {"grpc_port": 65535, "http_port": 65535, "registry_port": 65535, "trace_ratio": 1}


def _check(origins: Mapping[str, Origin]) -> None:
    for key, choices in _CHOICES.items():
        if origins[key].value not in choices:
            raise BadSetting(
                f"{key} is one of {', '.join(choices)}, got {origins[key].value!r} ({origins[key].source})"
            )
    for key, origin in origins.items():
        if isinstance(origin.value, (int, float)) and not origin.value >= _LEAST.get(key, 0):
            raise BadSetting(f"{key} must be at least {_LEAST.get(key, 0)}, got {origin.value!r} ({origin.source})")
        if origin.value == math.inf:
            raise BadSetting(f"{key} must be finite, got {origin.value!r} ({origin.source})")
        if key in _MOST and origin.value > _MOST[key]:
            raise BadSetting(f"{key} must be at most {_MOST[key]}, got {origin.value!r} ({origin.source})")


def to_environment(settings: Settings, origins: Mapping[str, Origin]) -> dict[str, str]:
    """What was set, for child processes; defaults are left out."""
    return {
        f"PENSTOCK_{key.upper()}": str(getattr(settings, key))
        for key, origin in origins.items()
        if origin.source != "default"
    }
