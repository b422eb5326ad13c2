"""`up`, `registry`, `gateway` and `worker`: the commands that serve until they are told to stop."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import BadSetting, Settings, load, to_environment
from ..rpc.lifecycle import EXIT_NO_TORCH, READY_FD, die_with_parent, run, set_up_logging
from ..telemetry import TraceConfig
from .options import Config, DataDir
from .output import out

if TYPE_CHECKING:
    from ..supervisor.serve import Addresses
    from ..worker.worker_config import WorkerConfig

Host = Annotated[str | None, typer.Option(help="What to bind to.", show_default=False)]
GrpcPort = Annotated[int | None, typer.Option(help="gRPC port of the gateways.", show_default=False)]
HttpPort = Annotated[int | None, typer.Option(help="HTTP port of the gateways.", show_default=False)]
RegistryPort = Annotated[int | None, typer.Option(help="Port of the registry.", show_default=False)]
Auth = Annotated[str | None, typer.Option(help="off, or keys.", show_default=False)]
Insecure = Annotated[bool | None, typer.Option("--insecure", help="Serve other hosts without TLS.", show_default=False)]
Balancer = Annotated[str | None, typer.Option(help="How gateways choose a worker.", show_default=False)]
Carrier = Annotated[str | None, typer.Option(help="How gateways reach workers.", show_default=False)]
Registry = Annotated[str | None, typer.Option(help="The registry: HOST:PORT, several with ,.", show_default=False)]
Store = Annotated[str | None, typer.Option(help="sqlite, or etcd://HOST:PORT,…/PREFIX.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (up, registry, gateway, worker):
        app.command()(command)


def _prepare(process: str, config: Path | None, **flags: Any) -> tuple[Settings, dict[str, str]]:
    """Settings and logging; a child of ours also ends with its parent."""
    chosen, origins = load(flags, file=config)
    set_up_logging(process, chosen.log_level)
    os.umask(0o077)  # whatever a server writes is for its own user only
    if READY_FD in os.environ:
        die_with_parent()
    return chosen, to_environment(chosen, origins)


def up(
    data_dir: DataDir = None,
    host: Host = None,
    grpc_port: GrpcPort = None,
    http_port: HttpPort = None,
    registry_port: RegistryPort = None,
    gateways: Annotated[int | None, typer.Option(help="Gateway processes on one port.", show_default=False)] = None,
    auth: Auth = None,
    insecure: Insecure = None,
    balancer: Balancer = None,
    carrier: Carrier = None,
    store: Store = None,
    registry: Annotated[
        str | None, typer.Option(help="Other registries over the same etcd: HOST:PORT,…", show_default=False)
    ] = None,
    config: Config = None,
) -> None:
    """Serve everything on this host: a registry, gateways, and the workers that the registry asks for."""
    from ..supervisor.kept import ChildFailed
    from ..supervisor.serve import UpConfig, serve

    flags = {
        "data_dir": data_dir,
        "host": host,
        "grpc_port": grpc_port,
        "http_port": http_port,
        "registry_port": registry_port,
        "gateways": gateways,
        "auth": auth,
        "insecure": insecure,
        "balancer": balancer,
        "carrier": carrier,
        "store": store,
    }
    chosen, environment = _prepare("up", config, **flags)
    plan = UpConfig(
        data_dir=chosen.data_dir.absolute(),
        host=chosen.host,
        grpc_port=chosen.grpc_port,
        http_port=chosen.http_port,
        registry_port=chosen.registry_port,
        other_registries=registry or "",
        gateways=chosen.gateways,
        auth=chosen.auth,
        insecure=chosen.insecure,
        spare=chosen.spare,
        grace=chosen.grace + chosen.lame_duck + 2,
        threads=chosen.threads,
        environment=environment,
    )
    try:
        status = run(lambda stop: serve(plan, stop, lambda where: _print_ready(where, plan.auth, plan.data_dir)))
    except ChildFailed as error:
        print(f"penstock: {error}", file=sys.stderr)
        status = 1
    raise typer.Exit(status)


def _print_ready(where: Addresses, auth: str, data_dir: Path) -> None:
    """A table for people with lines to copy, and one line for programs."""
    rows = {
        "gRPC": where.grpc,
        "HTTP": f"http://{where.http}/readyz",
        "registry": where.registry,
        "admin key": f"export PENSTOCK_API_KEY=$(cat {data_dir}/admin.key)" if auth == "keys" else "",
        "publish": f"penstock publish NAME model.pt2 --address {where.grpc}",
        "call": f"penstock predict NAME '{{\"x\": [[1, 2]]}}' --address {where.grpc}",
        "look": f"grpcurl -plaintext {where.grpc} list",
    }
    console = out()
    console.print("[bold green]READY[/]")
    for label, text in rows.items():
        if text:  # not in a rich table: a line to copy must not be broken in two
            console.print(f"{label:10} {text}", soft_wrap=True, markup=False)
    print(f"READY grpc={where.grpc} http={where.http}", flush=True)


def registry(
    data_dir: DataDir = None,
    registry_host: Annotated[str | None, typer.Option(help="What to bind to.", show_default=False)] = None,
    registry_port: RegistryPort = None,
    auth: Auth = None,
    insecure: Insecure = None,
    store: Store = None,
    advertise: Annotated[str | None, typer.Option(help="Where other registries reach it.", show_default=False)] = None,
    etcd_insecure: Annotated[
        bool | None, typer.Option("--etcd-insecure", help="Speak to another host's etcd without TLS.")
    ] = None,
    config: Config = None,
) -> None:
    """Serve the registry alone, or one of several over one etcd."""
    from ..registry.config import Credentials
    from ..registry.limits import Limits
    from ..registry.serve import RegistryConfig, serve

    flags: dict[str, Any] = {
        "data_dir": data_dir,
        "registry_host": registry_host,
        "registry_port": registry_port,
        "auth": auth,
    }
    flags |= {"store": store, "advertise": advertise, "etcd_insecure": etcd_insecure}
    chosen, _ = _prepare("registry", config, insecure=insecure, **flags)
    plan = RegistryConfig(
        data_dir=chosen.data_dir,
        host=chosen.registry_host,
        port=chosen.registry_port,
        auth=chosen.auth,
        lease_ttl=chosen.lease_ttl,
        keep_warm=chosen.keep_warm,
        memory_budget=chosen.memory_budget,
        max_loaded=chosen.max_loaded,
        limits=Limits(
            chosen.max_file_bytes,
            chosen.max_version_bytes,
            chosen.max_store_bytes,
            chosen.min_free_bytes,
            chosen.max_unfinished_bytes,
        ),
        gc_grace=chosen.gc_grace,
        gc_interval=chosen.gc_interval,
        upload_keep=chosen.upload_keep,
        artifact_urls=chosen.artifact_urls,
        url_timeout=chosen.url_timeout,
        signatures=chosen.signatures,
        trusted_keys=chosen.trusted_keys,
        insecure=chosen.insecure,
        store=chosen.store,
        advertise=chosen.advertise,
        credentials=Credentials(
            chosen.etcd_user,
            chosen.etcd_password,
            *(Path(name) if name else None for name in (chosen.etcd_ca, chosen.etcd_cert, chosen.etcd_key)),
        ),
        etcd_insecure=chosen.etcd_insecure,
    )
    try:
        status = run(lambda stop: serve(plan, stop))
    except ValueError as error:  # a configuration or a data folder that cannot be used; the message says how to mend it
        raise BadSetting(str(error)) from None
    raise typer.Exit(status)


def gateway(
    data_dir: DataDir = None,
    host: Host = None,
    grpc_port: GrpcPort = None,
    http_port: HttpPort = None,
    registry: Registry = None,
    auth: Auth = None,
    share_port: Annotated[bool, typer.Option("--share-port", help="Other gateways serve this port too.")] = False,
    insecure: Insecure = None,
    balancer: Balancer = None,
    carrier: Carrier = None,
    config: Config = None,
) -> None:
    """Serve one gateway alone."""
    from ..gateway.admission import AdmissionLimits
    from ..gateway.proxy import Deadlines
    from ..gateway.serve import GatewayConfig, serve

    flags = {"data_dir": data_dir, "host": host, "grpc_port": grpc_port, "http_port": http_port, "registry": registry}
    flags |= {"auth": auth, "balancer": balancer, "carrier": carrier}
    chosen, _ = _prepare("gateway", config, insecure=insecure, **flags)
    plan = GatewayConfig(
        host=chosen.host,
        grpc_port=chosen.grpc_port,
        http_port=chosen.http_port,
        share_port=share_port,
        registry=chosen.registry,
        data_dir=chosen.data_dir,
        auth=chosen.auth,
        api_key=chosen.api_key,
        insecure=chosen.insecure,
        balancer=chosen.balancer,
        carrier=chosen.carrier,
        access_log=chosen.access_log,
        max_message_bytes=chosen.max_message_bytes,
        limits=AdmissionLimits(chosen.max_in_flight, chosen.max_in_flight_bytes),
        deadlines=Deadlines(chosen.default_timeout),
        trace=TraceConfig(chosen.trace_exporter, chosen.trace_ratio),
        lame_duck=chosen.lame_duck,
        grace=chosen.grace,
    )
    raise typer.Exit(run(lambda stop: serve(plan, stop)))


def worker(
    name: Annotated[str, typer.Option(help="The model.")] = "",
    version: Annotated[int, typer.Option(help="The version.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    listen: Annotated[str, typer.Option(help="HOST:PORT or unix:PATH.")] = "127.0.0.1:0",
    data_dir: DataDir = None,
    registry: Registry = None,
    insecure: Insecure = None,
    assigned: Annotated[bool, typer.Option("--assigned", help="Be told by a supervisor on standard input.")] = False,
    config: Config = None,
) -> None:
    """Serve one version of one model on one device."""
    chosen, _ = _prepare("worker", config, data_dir=data_dir, registry=registry, insecure=insecure)
    try:
        from ..worker.serve import serve  # imports torch: a spare has done that when it is assigned
    except ModuleNotFoundError as error:
        print(f"penstock: workers need {error.name}: pip install 'penstock[worker]'", file=sys.stderr)
        raise typer.Exit(EXIT_NO_TORCH) from None
    from ..worker.worker_config import WorkerConfig

    plan = WorkerConfig(
        name=name,
        version=version,
        worker_id=f"{name}-{version}-{os.urandom(4).hex()}",
        listen=f"unix:{Path(listen[5:]).absolute()}" if listen.startswith("unix:") else listen,
        cache_dir=chosen.data_dir.absolute() / "cache",  # a servable may change the working directory
        registry=chosen.registry,
        device=device,
        threads=chosen.threads,
        api_key=chosen.api_key,
        insecure=chosen.insecure,
        lame_duck=chosen.lame_duck,
        grace=chosen.grace,
        signatures=chosen.signatures,
        trusted_keys=chosen.trusted_keys,
        cache_keep=chosen.cache_keep,
        max_cache_bytes=chosen.max_cache_bytes,
    )
    if assigned:
        plan = _assignment(plan)
    elif not name or version < 1:
        raise typer.BadParameter("name a model and a version: --name digits --version 1")
    raise typer.Exit(run(lambda stop: serve(plan, stop)))


def _assignment(plan: WorkerConfig) -> WorkerConfig:
    """Wait for the supervisor's line; its end of the pipe closing means that there is nothing to do."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    line = sys.stdin.readline()
    if not line:
        raise typer.Exit(0)
    facts = json.loads(line)
    return replace(plan, **(facts | {"cache_dir": Path(facts["cache_dir"])}))
