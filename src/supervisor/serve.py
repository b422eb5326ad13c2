"""The life of `penstock up`: registry first, then gateways and workers; and the other way round at the end."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ..rpc.lifecycle import Stop, background
from ..rpc.ports import require_courage, reserve
from ..rpc.registries import Registries
from .fleet import Fleet, FleetConfig
from .kept import Kept
from .registry_follower import RegistryFollower

log = logging.getLogger("penstock.supervisor")


@dataclass(frozen=True, slots=True)
class UpConfig:
    """Everything on one host."""

    data_dir: Path = Path(".penstock")
    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    registry_port: int = 8010
    other_registries: str = ""
    """Those over the same etcd that stand in for the one that runs here; several with commas."""
    gateways: int = 1
    auth: str = "off"
    insecure: bool = False
    spare: bool = True
    grace: float = 25.0
    """Seconds for each stage of the stop: gateways, then workers, then the registry."""
    threads: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    """Settings for the children, as PENSTOCK_… variables."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where things are, once they are ready."""

    grpc: str
    http: str
    registry: str


async def serve(config: UpConfig, stop: Stop, on_ready: Callable[[Addresses], None]) -> int:
    """Run everything until `stop`. Returns the exit status.

    Args:
        config: what to run.
        stop: the first request drains in order, the second ends at once.
        on_ready: called once, when requests can be answered.

    Raises:
        PortTaken, PublicBind, ChildFailed: it cannot be run like this.
    """
    require_courage(config.host, config.insecure, "--host")
    addresses = Addresses(
        grpc=f"{config.host}:{reserve(config.host, config.grpc_port, '--grpc-port')}",
        http=f"{config.host}:{reserve(config.host, config.http_port, '--http-port')}",
        registry=f"127.0.0.1:{reserve('127.0.0.1', config.registry_port, '--registry-port')}",
    )
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        run_dir = Path(tempfile.mkdtemp(prefix="penstock-"))
        stack.callback(shutil.rmtree, run_dir, ignore_errors=True)
        registry = Kept("registry", _registry_arguments(config, addresses), config.environment)
        stack.push_async_callback(registry.stop, config.grace)
        await registry.start()

        api_key = _admin_key(config)
        environment = {**config.environment, **({"PENSTOCK_API_KEY": api_key} if api_key else {}), **_NOT_THEIRS}
        registries = Registries(_all_registries(config, addresses))
        stack.push_async_callback(registries.close)
        follower = RegistryFollower(registries, api_key)
        fleet = Fleet(_fleet_config(config, addresses, run_dir, environment), follower)
        stack.push_async_callback(fleet.stop)
        background(stack, follower.run(), log)
        background(stack, fleet.run(), log)

        arguments = _gateway_arguments(config, addresses)
        gateways = [
            Kept("gateway", arguments, _gateway_environment(config, environment, number))
            for number in range(1, config.gateways + 1)
        ]
        for gateway in gateways:
            stack.push_async_callback(gateway.stop, config.grace)
        await asyncio.gather(*(gateway.start() for gateway in gateways))
        on_ready(addresses)
        await stop.requested.wait()
        background(stack, _hurry_when_forced(stop, [*gateways, fleet, registry]), log)
        await asyncio.gather(*(gateway.stop(config.grace) for gateway in gateways))
    return 0


async def _hurry_when_forced(stop: Stop, children: Sequence[Kept | Fleet]) -> None:
    await stop.forced.wait()
    for child in children:
        child.hurry()


def _admin_key(config: UpConfig) -> str:
    """The key with which Penstock's own processes call the registry; the registry has written it."""
    return (config.data_dir / "admin.key").read_text().strip() if config.auth == "keys" else ""


_NOT_THEIRS = {"PENSTOCK_ETCD_PASSWORD": ""}
"""Gateways, and workers with the models' own code, do not learn what opens the registry's store."""


def _all_registries(config: UpConfig, addresses: Addresses) -> str:
    """The one that runs here comes first."""
    return ",".join(filter(None, (addresses.registry, config.other_registries)))


def _registry_arguments(config: UpConfig, addresses: Addresses) -> list[str]:
    host, _, port = addresses.registry.rpartition(":")
    return [
        "registry",
        f"--data-dir={config.data_dir}",
        f"--registry-host={host}",
        f"--registry-port={port}",
        f"--auth={config.auth}",
    ]


def _gateway_arguments(config: UpConfig, addresses: Addresses) -> list[str]:
    return [
        "gateway",
        f"--data-dir={config.data_dir}",
        f"--host={config.host}",
        f"--grpc-port={addresses.grpc.rpartition(':')[2]}",
        f"--http-port={addresses.http.rpartition(':')[2]}",
        f"--registry={_all_registries(config, addresses)}",
        f"--auth={config.auth}",
        *(["--share-port"] if config.gateways > 1 else []),
        *(["--insecure"] if config.insecure else []),
    ]


def _gateway_environment(config: UpConfig, environment: Mapping[str, str], number: int) -> Mapping[str, str]:
    """Several gateways write an access log each: `access-2.jsonl`; a file that two rotate would lose lines."""
    path = Path(environment.get("PENSTOCK_ACCESS_LOG", "file"))
    if config.gateways == 1 or str(path) == "off":
        return environment
    if str(path) == "file":
        path = config.data_dir / "logs" / "access.jsonl"
    return {**environment, "PENSTOCK_ACCESS_LOG": str(path.with_stem(f"{path.stem}-{number}"))}


def _fleet_config(config: UpConfig, addresses: Addresses, run_dir: Path, environment: Mapping[str, str]) -> FleetConfig:
    return FleetConfig(
        registry=_all_registries(config, addresses),
        data_dir=config.data_dir,
        run_dir=run_dir,
        environment=environment,
        spare=config.spare,
        grace=config.grace,
        threads=config.threads,
    )
