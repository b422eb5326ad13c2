"""The command line. Commands import what they need when they run, so that `--help` and completion are quick."""

from __future__ import annotations

import sys

import typer

from ..config import BadSetting
from ..errors import PenstockError
from ..rpc.ports import PortTaken, PublicBind
from . import (
    archive,
    artifacts,
    audit,
    bench,
    keys,
    models,
    policy,
    predict,
    publish,
    removals,
    servers,
    show,
    signing,
    status,
    traffic,
)

app = typer.Typer(
    help="Penstock serves PyTorch models over gRPC.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (servers, publish, predict, bench, status, models, traffic, policy, artifacts, archive, signing, audit)
for module in (*_COMMANDS, removals, show):
    module.add_to(app)
app.add_typer(keys.app, name="key")
app.add_typer(show.config_app, name="config")

USAGE = 2
RPC = 64
"""An RPC error ends a command with 64 + its status code, as grpcurl does."""


def main() -> None:
    """Run a command; every expected failure is one line on stderr and an exit status, never a traceback."""
    try:
        app(standalone_mode=True)
    except PenstockError as error:
        _complain(str(error))
        for violation in error.violations:
            if violation.description not in error.message:
                _complain(f"  {violation.field}: {violation.description}")
        sys.exit(RPC + int(error.code.value[0]))
    except (BadSetting, PortTaken, PublicBind) as error:
        _complain(str(error))
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


def _complain(text: str) -> None:
    print(f"penstock: {text}", file=sys.stderr)
