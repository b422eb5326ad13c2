"""`key create`, `key list`, `key revoke`: who may call."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.v1 import registry_pb2 as pb

from .control import TIMEOUT, control
from .options import Address, ApiKey, Format, Output
from .output import err, out, print_json, print_rows

app = typer.Typer(help="API keys: who may call.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: shown in logs.")],
    scope: Annotated[list[str], typer.Option(help="admin, predict:MODEL or status:MODEL; MODEL may hold *.")],
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a key. It is printed once; only its hash is stored."""
    with control(address, api_key) as registry:
        request = pb.CreateKeyRequest(name=name, scopes=scope)
        answer = registry.stub.CreateKey(request, timeout=TIMEOUT, metadata=registry.metadata)
    if output is Format.JSON:
        print_json({"key": answer.key, "key_id": answer.record.key_id, "name": name, "scopes": scope})
    else:
        print(answer.key)
        err().print(
            "[dim]Keep it: it is not stored and cannot be shown again. Send it as `authorization: Bearer KEY`.[/]"
        )


@app.command("list")
def list_keys(address: Address = None, api_key: ApiKey = None, output: Output = Format.TABLE) -> None:
    """Show all keys, without secrets."""
    with control(address, api_key) as registry:
        keys = registry.stub.ListKeys(pb.ListKeysRequest(), timeout=TIMEOUT, metadata=registry.metadata).keys
    rows = [(key.key_id, key.name, list(key.scopes), key.created.ToJsonString()) for key in keys]
    print_rows(output, ["Key id", "Name", "Scopes", "Created"], rows)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="From `penstock key list`.")],
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a key useless."""
    with control(address, api_key) as registry:
        request = pb.RevokeKeyRequest(key_id=key_id)
        registry.stub.RevokeKey(request, timeout=TIMEOUT, metadata=registry.metadata)
    if output is Format.JSON:
        print_json({"key_id": key_id, "revoked": True})
    else:
        out().print(f"key {key_id} is revoked")
