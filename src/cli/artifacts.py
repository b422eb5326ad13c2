"""`delete` and `gc`: take versions away, and remove files that no version needs."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.v1 import artifacts_pb2
from penstock.v1 import registry_pb2 as pb

from .control import TIMEOUT, control
from .options import Address, ApiKey, Format, Output
from .output import out, print_json

_COLLECT_TIMEOUT = 600.0


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (delete, gc):
        app.command()(command)


def delete(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[int, typer.Option(help="The version's number; it will not be given again.")],
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Take a version away for ever. Refused while an alias means it, it is pinned, or a worker holds it."""
    with control(address, api_key) as registry:
        request = pb.DeleteVersionRequest(name=name, version=version)
        registry.stub.DeleteVersion(request, timeout=TIMEOUT, metadata=registry.metadata)
    if output is Format.JSON:
        print_json({"name": name, "version": version, "deleted": True})
    else:
        out().print(f"{name} version {version} is deleted; its files go by themselves, or by `penstock gc --now`")


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for the grace time.")] = False,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Remove the registry's files that no version needs, and what is left of uploads that broke off."""
    with control(address, api_key) as registry:
        request = artifacts_pb2.CollectGarbageRequest(dry_run=dry_run, ignore_grace=now)
        answer = registry.stub.CollectGarbage(request, timeout=_COLLECT_TIMEOUT, metadata=registry.metadata)
    if output is Format.JSON:
        facts = {field.name: getattr(answer, field.name) for field in answer.DESCRIPTOR.fields}
        print_json(facts | {"dry_run": dry_run})
        return
    would = "would be " if dry_run else ""
    out().print(
        f"{answer.files} files of {answer.bytes} bytes and {answer.unfinished_files} unfinished uploads of"
        f" {answer.unfinished_bytes} bytes {would}removed; the store holds {answer.stored_bytes} bytes"
    )
