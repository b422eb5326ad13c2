"""The options that many commands share, and the settings that come of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import Settings, load

if TYPE_CHECKING:
    from ..client import Client  # brings in numpy, which the servers that this command line starts never import


class Format(StrEnum):
    """How a command prints."""

    TABLE = "table"
    JSON = "json"


Address = Annotated[str | None, typer.Option(help="The gateway: HOST:PORT. [PENSTOCK_ADDRESS]", show_default=False)]
ApiKey = Annotated[str | None, typer.Option(help="The key to send. [PENSTOCK_API_KEY]", show_default=False)]
Config = Annotated[Path | None, typer.Option(help="Read settings from this file.", show_default=False)]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]
DataDir = Annotated[Path | None, typer.Option(help="Where state is kept.", show_default=False)]
Alias = Annotated[str | None, typer.Option(help="What the alias means.", show_default=False)]
Version = Annotated[int | None, typer.Option(help="A version's number.", show_default=False)]


def settings(config: Path | None = None, **flags: Any) -> Settings:
    """The settings for a command; raises BadSetting."""
    return load(flags, file=config)[0]


def client(address: str | None, api_key: str | None, timeout: float = 30.0) -> Client:
    """A client for a command; to be used in a `with` block."""
    from ..client import Client

    chosen = settings(address=address, api_key=api_key)
    return Client(chosen.address, api_key=chosen.api_key or None, timeout=timeout, retries=2)
