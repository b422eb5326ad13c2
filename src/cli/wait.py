"""Wait for a version with a progress bar that shows what its worker is doing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import DeadlineExceeded, ModelLoadFailed
from .options import client
from .output import progress

if TYPE_CHECKING:
    from ..client import StatusChange, VersionStatus


def wait_until_available(
    name: str, version: int, timeout: float, address: str | None, api_key: str | None, deployment: int = 0
) -> None:
    """Return when a version is AVAILABLE.

    Args:
        name: the model.
        version: its version.
        timeout: seconds.
        address: of the gateway.
        api_key: to send.
        deployment: what is told from before this one does not count: it may have failed, and is tried again.

    Raises:
        ModelLoadFailed: its load failed, with the reason.
        DeadlineExceeded: it takes longer than `timeout` seconds.
    """
    with client(address, api_key) as caller, progress() as bar:
        task = bar.add_task(f"{name} version {version}", total=1.0)
        for status in _statuses(caller.watch_status(timeout=timeout), name, version):
            if status.deployment < deployment:
                continue
            if status.state == "AVAILABLE":
                return
            if status.load_failed:
                what = f"version {version} of model {name!r} could not be loaded: {status.reason}"
                raise ModelLoadFailed(what, metadata={"model": name, "version": str(version)})
            for instance in status.instances[:1]:
                text = f"{name} version {version}: {instance.stage or instance.state.lower()}"
                bar.update(task, completed=instance.progress, description=text)
    raise DeadlineExceeded(
        f"version {version} of {name!r} is not AVAILABLE after {timeout:g} s; `penstock status {name}`"
    )


def _statuses(changes: Iterable[StatusChange], name: str, version: int) -> Iterable[VersionStatus]:
    for change in changes:
        for model in change.models:
            if model.name == name:
                yield from (status for status in model.versions if status.version == version)
