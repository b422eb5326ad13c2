"""`alias`, `rollback`, `deploy`, `undeploy`, `drain`: change what is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import FailedPrecondition, ModelLoadFailed
from .control import TIMEOUT, Control, control, model_record, version_record
from .options import Address, ApiKey, Format, Output, Version
from .output import err, out, print_json, print_rows
from .wait import wait_until_available

Name = Annotated[str, typer.Argument(help="The model's name.")]
Wait = Annotated[float, typer.Option("--timeout", help="Seconds to wait until the version is AVAILABLE.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (alias, rollback, deploy, undeploy, drain):
        app.command()(command)


def alias(
    name: Name,
    alias: Annotated[str | None, typer.Argument(help="The alias; none: show all.", show_default=False)] = None,
    version: Annotated[int | None, typer.Argument(help="What it shall mean.", show_default=False)] = None,
    expected: Annotated[int | None, typer.Option(help="Only if it means this now (0: nothing).")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Take the alias away.")] = False,
    timeout: Wait = 300.0,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Make an alias mean a version (loading it first if need be), take one away, or show their history."""
    if alias is not None and version is not None:
        meant = _load(name, version, timeout, address, api_key).get(alias, 0)
        expected = meant if expected is None else expected
    with control(address, api_key) as registry:
        if alias is None or (version is None and not delete):
            _print_history(registry, name, alias or "", output)
            return
        if delete:
            gone = pb.DeleteAliasRequest(name=name, alias=alias)
            registry.stub.DeleteAlias(gone, timeout=TIMEOUT, metadata=registry.metadata)
            _say(output, {"name": name, "alias": alias, "version": 0}, f"{name}@{alias} is gone")
            return
        request = pb.SetAliasRequest(name=name, alias=alias, version=version or 0, expected_version=expected)
        answer = registry.stub.SetAlias(request, timeout=TIMEOUT, metadata=registry.metadata)
    before = f" (it meant {answer.previous_version})" if answer.previous_version else ""
    facts = {"name": name, "alias": alias, "version": version, "previous_version": answer.previous_version}
    _say(output, facts, f"{name}@{alias} means version {version}{before}")


def rollback(
    name: Name,
    alias: Annotated[str, typer.Argument(help="The alias.")] = "stable",
    timeout: Wait = 300.0,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Make an alias mean what it meant before its last change, loading that version first if need be."""
    with control(address, api_key) as registry:
        history = _history(registry, name, alias)
    if not history or not history[0].previous_version:
        raise FailedPrecondition(
            f"alias {alias!r} of model {name!r} meant nothing before; set it with `penstock alias`"
        )
    request = pb.RollbackAliasRequest(name=name, alias=alias, expected_version=history[0].version)
    _load(name, history[0].previous_version, timeout, address, api_key)
    with control(address, api_key) as registry:
        answer = registry.stub.RollbackAlias(request, timeout=TIMEOUT, metadata=registry.metadata)
    facts = {"name": name, "alias": alias, "version": answer.version, "previous_version": answer.previous_version}
    _say(output, facts, f"{name}@{alias} means version {answer.version} again (it meant {answer.previous_version})")


def deploy(
    name: Name,
    version: Version = None,
    instances: Annotated[int, typer.Option(help="How many workers; without --version of all; 0: as before.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; likewise; empty: as before.")] = "",
    timeout: Wait = 300.0,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Load a version and keep it loaded; without --version: load what aliases mean and the policy names."""
    request = pb.DeployRequest(name=name, version=version or 0, instances=instances, device=device)
    with control(address, api_key) as registry:
        model = registry.stub.Deploy(request, timeout=TIMEOUT, metadata=registry.metadata).model
        if version:
            _say_why_it_waits(model, version)
    for record in model.versions:
        if record.manifest.version == version or (version is None and record.desired_instances):
            wait_until_available(name, record.manifest.version, timeout, address, api_key, record.deployment)
    _say(output, {"name": name, "version": version}, f"{name} {f'version {version} ' if version else ''}is deployed")


def undeploy(
    name: Name,
    version: Version = None,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Unload a version, or all versions of a model. Their files stay, and `deploy` brings them back."""
    request = pb.UndeployRequest(name=name, version=version or 0)
    with control(address, api_key) as registry:
        registry.stub.Undeploy(request, timeout=TIMEOUT, metadata=registry.metadata)
    _say(output, {"name": name, "version": version}, f"{name} {f'version {version} ' if version else ''}is undeployed")


def drain(
    worker_id: Annotated[str, typer.Argument(help="From `penstock status`.")],
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Have one worker finish what it holds and end; the supervisor starts another if one is wanted."""
    with control(address, api_key) as registry:
        request = pb.DrainWorkerRequest(worker_id=worker_id)
        registry.stub.DrainWorker(request, timeout=TIMEOUT, metadata=registry.metadata)
    _say(output, {"worker_id": worker_id}, f"{worker_id} drains")


def _load(name: str, version: int, timeout: float, address: str | None, api_key: str | None) -> Mapping[str, int]:
    """Make before break: a version that is not loaded is pinned and waited for before an alias may mean it.

    Returns:
        What the aliases meant before that. Who moved one meanwhile wanted something else, and is not overruled.
    """
    with control(address, api_key) as registry:
        model = model_record(registry, name)
        record = version_record(model, version)
        if not record.manifest.version or record.state == model_pb2.MODEL_STATE_AVAILABLE:
            return model.aliases  # what does not exist is refused by the call that follows
    err().print(f"version {version} of {name} is not loaded: loading it first")
    load_pinned(name, version, timeout, address, api_key)
    return model.aliases


def load_pinned(name: str, version: int, timeout: float, address: str | None, api_key: str | None) -> None:
    """Have a version loaded, whatever the policy says, and wait for it.

    Raises:
        ModelLoadFailed: it could not be. If an older version has made way for it, the pin is taken back: else the
            registry's next start would try again, and unload the old version again.
    """
    with control(address, api_key) as registry:
        request = pb.DeployRequest(name=name, version=version)
        model = registry.stub.Deploy(request, timeout=TIMEOUT, metadata=registry.metadata).model
    _say_why_it_waits(model, version)
    try:
        deployment = version_record(model, version).deployment
        wait_until_available(name, version, timeout, address, api_key, deployment)
    except ModelLoadFailed:
        if model.settings.serving.resource_preserving and version not in model.aliases.values():
            with control(address, api_key) as registry:
                back = pb.UndeployRequest(name=name, version=version)
                registry.stub.Undeploy(back, timeout=TIMEOUT, metadata=registry.metadata)
        raise


def _say_why_it_waits(model: pb.ModelRecord, version: int) -> None:
    waits = version_record(model, version).waits
    if waits:
        err().print(f"version {version} of {model.name}: {waits}")


def _history(registry: Control, name: str, alias: str) -> list[pb.AliasChange]:
    request = pb.ListAliasChangesRequest(name=name, alias=alias)
    return list(registry.stub.ListAliasChanges(request, timeout=TIMEOUT, metadata=registry.metadata).changes)


def _print_history(registry: Control, name: str, alias: str, output: Format) -> None:
    rows = [
        (c.alias, c.version or "-", c.previous_version or "-", c.time.ToJsonString(), c.principal)
        for c in _history(registry, name, alias)
    ]
    print_rows(output, ["Alias", "Version", "Before", "Time", "By"], rows)


def _say(output: Format, facts: Mapping[str, object], text: str) -> None:
    if output is Format.JSON:
        print_json(dict(facts))
    else:
        out().print(text)
