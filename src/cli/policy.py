"""`policy`: which versions of a model are loaded, how often, where and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from penstock.v1 import registry_pb2 as pb

from .control import TIMEOUT, control, model_record
from .options import Address, ApiKey, Format, Output
from .output import print_json, print_rows


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(policy)


def policy(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    latest: Annotated[int | None, typer.Option(help="Load so many, the newest.", show_default=False)] = None,
    all_: Annotated[bool, typer.Option("--all", help="Load all versions.")] = False,
    versions: Annotated[str | None, typer.Option(help="Load these: 3,5.", show_default=False)] = None,
    default: Annotated[bool, typer.Option("--default", help="Load the newest.")] = False,
    instances: Annotated[int | None, typer.Option(help="Workers of each; 0: one.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="Where; empty: auto.", show_default=False)] = None,
    keep_warm: Annotated[
        float | None, typer.Option(help="Seconds loaded after an alias left; -1: the default.", show_default=False)
    ] = None,
    resource_preserving: Annotated[
        bool | None,
        typer.Option(
            "--resource-preserving/--availability-preserving",
            help="Without room for two versions: unload the old one first, or refuse the new one.",
            show_default=False,
        ),
    ] = None,
    lazy: Annotated[
        bool | None,
        typer.Option("--lazy/--eager", help="Load versions when they are first asked for.", show_default=False),
    ] = None,
    idle: Annotated[
        float | None, typer.Option(help="Lazy: seconds loaded after the last use; -1: the default.", show_default=False)
    ] = None,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Say which versions are loaded besides those that an alias means; without options: show the policy."""
    asked = pb.ServingPolicy(instances=instances or 0, device=device or "")
    asked.resource_preserving, asked.lazy = bool(resource_preserving), bool(lazy)
    for field, seconds in ((asked.keep_warm, keep_warm), (asked.idle, idle)):
        if seconds is not None and seconds != -1:
            field.FromMilliseconds(round(seconds * 1000))
    chosen = _chosen(latest, all_, versions, default)
    if chosen is not None:
        asked.versions.CopyFrom(chosen)
    given = {
        "versions": chosen,
        "instances": instances,
        "device": device,
        "keep_warm": keep_warm,
        "resource_preserving": resource_preserving,
        "lazy": lazy,
        "idle": idle,
    }
    mask = FieldMask(paths=[field for field, value in given.items() if value is not None])
    with control(address, api_key) as registry:
        if mask.paths:
            request = pb.SetPolicyRequest(name=name, policy=asked, update_mask=mask)
            model = registry.stub.SetPolicy(request, timeout=TIMEOUT, metadata=registry.metadata).model
        else:
            model = model_record(registry, name)
    _print(model, output)


def _chosen(latest: int | None, all_: bool, versions: str | None, default: bool) -> pb.VersionPolicy | None:
    """Which versions; None: not said."""
    given = [latest is not None, all_, versions is not None, default]
    if sum(given) > 1:
        raise typer.BadParameter("give one of --latest, --all, --versions and --default")
    if latest is not None:
        if latest < 1:
            raise typer.BadParameter("at least 1", param_hint="--latest")
        return pb.VersionPolicy(latest=latest)
    if versions is not None:
        return pb.VersionPolicy(pinned=pb.VersionList(versions=list(_numbers(versions))))
    return pb.VersionPolicy(all=True) if all_ else pb.VersionPolicy() if default else None


def _numbers(versions: str) -> Iterator[int]:
    for text in versions.split(","):
        if not text.strip().isdecimal():
            raise typer.BadParameter(f"{text!r} is not a version; write 3,5", param_hint="--versions")
        yield int(text)


def _print(model: pb.ModelRecord, output: Format) -> None:
    said = model.settings.serving
    facts = {
        "versions": _describe(said.versions),
        "instances": said.instances or 1,
        "device": said.device or "auto",
        "keep_warm": said.keep_warm.ToMilliseconds() / 1000 if said.HasField("keep_warm") else None,
        "resource_preserving": said.resource_preserving,
        "lazy": said.lazy,
        "idle": said.idle.ToMilliseconds() / 1000 if said.HasField("idle") else None,
    }
    if output is Format.JSON:
        print_json({"name": model.name, **facts})
        return
    print_rows(output, ["Policy", model.name], [(field, _shown(value)) for field, value in facts.items()])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g} s"
    return "the default" if value is None else str(value)


def _describe(policy: pb.VersionPolicy) -> str:
    if policy.all:
        return "all"
    if policy.pinned.versions:
        return ", ".join(map(str, policy.pinned.versions))
    return f"the newest {policy.latest}" if policy.latest > 1 else "the newest"
