"""`config show` and `version`: what this installation is, and what it would do."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer

from .. import __version__
from ..config import Settings, load
from .options import Config, Format, Output
from .output import print_json, print_rows

SECRET = ("api_key", "etcd_password")
config_app = typer.Typer(help="Settings and where they come from.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(version)


def version(output: Output = Format.TABLE) -> None:
    """Print the version."""
    if output is Format.JSON:
        print_json({"version": __version__})
    else:
        print(__version__)


@config_app.command("show")
def show(
    output: Output = Format.TABLE,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
    config: Config = None,
) -> None:
    """Print every setting, its value, and where the value came from."""
    _, origins = load({}, file=config)
    rows = []
    for field in fields(Settings):
        origin = origins[field.name]
        value = "(set)" if field.name in SECRET and origin.value else origin.value
        if not changed or origin.source != "default":
            rows.append((field.name, value, origin.source, field.metadata["about"]))
    print_rows(output, ["Setting", "Value", "From", "About"], rows)
