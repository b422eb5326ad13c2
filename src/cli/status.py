"""`status`: look at what is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..optimization import PLAIN
from .options import Address, ApiKey, Format, Output, client
from .output import print_json, print_rows
from .signatures import Signatures, as_json, fetch_signatures, print_signatures

if TYPE_CHECKING:
    from ..client import InstanceStatus, ModelStatus, VersionStatus


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(status)


def status(
    name: Annotated[str | None, typer.Argument(help="One model; none: all.", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Print again after every change.")] = False,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Show models, their versions and what each alias means; of one model also what it takes and gives."""
    with client(address, api_key) as caller:
        if not watch:
            models = caller.status(name)
            print_status(models, output, fetch_signatures(caller, models) if name else None)
            return
        for change in caller.watch_status(name or "", timeout=365 * 24 * 3600.0):
            print_status(list(change.models), output)


def print_status(models: list[ModelStatus], output: Format, signatures: Signatures | None = None) -> None:
    """Models and their versions, as a table or as JSON."""
    if output is Format.JSON:
        from dataclasses import asdict

        found = [asdict(model) for model in models]
        if signatures is not None:
            for model in found:
                for version in model["versions"]:
                    version["signature"] = as_json(signatures.get((model["name"], version["version"])))
        print_json(found)
        return
    columns = ["Model", "Version", "State", "Aliases", "Instances", "Format", "Reason"]
    rows = [
        (
            model.name,
            version.version,
            "FAILED" if version.load_failed and version.state == "END" else version.state,
            version.aliases,
            _instances(version),
            version.format,
            version.reason,
        )
        for model in models
        for version in model.versions
    ]
    print_rows(output, columns, rows)
    print_signatures(signatures or {})


def _instances(version: VersionStatus) -> str:
    """How many answer of how many are wanted, and what is to be known of each."""
    ready = sum(instance.state == "AVAILABLE" for instance in version.instances)
    return " ".join([f"{ready}/{version.desired_instances}", *map(_instance, version.instances)])


def _instance(instance: InstanceStatus) -> str:
    filled = f"{instance.padded_share:.0%} filled in" if instance.padded_share else ""
    facts = (instance.device, instance.stage, instance.carrier, filled, _computes(instance))
    return f"{instance.worker} ({', '.join(filter(None, facts))})"


def _computes(instance: InstanceStatus) -> str:
    """How, and what was gained by it, or why not."""
    optimized = instance.optimized
    if optimized is None:
        return ""
    gain = optimized.gain()
    if optimized.chosen != PLAIN:
        return f"{optimized.chosen}, {gain:.1f} times as fast" if gain else optimized.chosen
    problems = [f"{one.name}: {one.problem}" for one in optimized.candidates if one.problem]
    return "; ".join([PLAIN, *problems])
