"""`confirm-removal`: say that workers which the registry has forgotten are meant to be gone."""

from __future__ import annotations

import typer

from penstock.v1 import registry_pb2 as pb

from .control import TIMEOUT, control
from .options import Address, ApiKey, Format, Output, client
from .output import out, print_json


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("confirm-removal")(confirm_removal)


def confirm_removal(
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Let go of workers that gateways hold back: they answer, but the registry no longer lists them."""
    with client(address, api_key) as caller:
        versions = [version for model in caller.status() for version in model.versions]
    held = [instance.worker for version in versions for instance in version.instances if instance.held_back]
    with control(address, api_key) as registry:
        request = pb.ConfirmRemovalsRequest()
        answer = registry.stub.ConfirmRemovals(request, timeout=TIMEOUT, metadata=registry.metadata)
    if output is Format.JSON:
        print_json({"workers": held, "revision": answer.revision})
    else:
        out().print("let go: " + (", ".join(held) or "nothing was held back by this gateway"), soft_wrap=True)
