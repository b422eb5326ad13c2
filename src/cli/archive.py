"""`export` and `import`: the whole registry as one file, and back. Both talk to the registry, not to a gateway."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..config import BadSetting
from .control import Control, control
from .options import ApiKey, Format, Output, settings
from .output import out, print_json, progress
from .tarball import BadArchive, Reader, Writer
from .upload import Upload

_TIMEOUT = 24 * 3600.0

Registry = Annotated[str | None, typer.Option(help="The registry: HOST:PORT. [PENSTOCK_REGISTRY]", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("export")(export_registry)
    app.command("import")(import_registry)


def export_registry(
    file: Annotated[Path, typer.Argument(help="The archive to write; it must not be there.")],
    registry: Registry = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Write all models with their versions, aliases, history and files into one archive. Keys are not in it."""
    with control(settings(registry=registry).registry, api_key, "--registry") as connected, progress() as bar:
        models = [answer.model for answer in _stream(connected, "ExportModels", pb.ExportModelsRequest())]
        entries = {entry.sha256: entry for model in models for entry in _files(model)}
        task = bar.add_task("exporting", total=sum(entry.size for entry in entries.values()) or 1)
        try:
            with Writer(file, models) as writer:
                for entry in entries.values():
                    chunks = (answer.chunk for answer in _stream(connected, "FetchFile", _fetch(entry.sha256)))
                    writer.add(entry, chunks, lambda size: bar.advance(task, size))
        except (BadArchive, OSError) as error:
            raise BadSetting(f"{file} cannot be written: {error}") from None
    _print(output, file, "exported", models, len(entries))


def import_registry(
    file: Annotated[Path, typer.Argument(help="The archive.")],
    registry: Registry = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Put the models of an archive into a registry that has none of their names. Each comes whole or not at all."""
    try:
        with (
            Reader(file) as reader,
            control(settings(registry=registry).registry, api_key, "--registry") as connected,
            progress() as bar,
        ):
            existed = [model.name for model in reader.models if _restore(connected, reader, model, bar)]
    except (BadArchive, OSError) as error:
        raise BadSetting(f"{file} cannot be read: {error}") from None
    _print(output, file, "imported", reader.models, len(reader.sizes), existed)


def _restore(connected: Control, reader: Reader, model: pb.StoredModel, bar: Progress) -> bool:
    """Whether it was there already."""
    entries = {entry.sha256: entry for entry in _files(model)}
    task = bar.add_task(f"importing {model.name}", total=sum(entry.size for entry in entries.values()) or 1)
    files = [model_pb2.FileEntry(path=sha, size=entry.size, sha256=sha) for sha, entry in entries.items()]
    header = pb.RestoreHeader(model=model, files=files)
    blobs = [reader.blob(entry) for entry in files]
    return bool(Upload(connected, header, blobs, lambda size: bar.update(task, completed=size)).run().existed)


def _files(model: pb.StoredModel) -> list[model_pb2.FileEntry]:
    return [entry for version in model.versions for entry in version.manifest.files]


def _fetch(sha256: str) -> pb.FetchFileRequest:
    return pb.FetchFileRequest(sha256=sha256)


def _stream(connected: Control, method: str, request: object) -> Iterator[Any]:
    yield from getattr(connected.stub, method)(request, timeout=_TIMEOUT, metadata=connected.metadata)


def _print(
    output: Format, file: Path, done: str, models: list[pb.StoredModel], files: int, existed: list[str] | None = None
) -> None:
    versions = sum(len(model.versions) for model in models)
    facts = {"file": str(file), "models": len(models), "versions": versions, "files": files}
    facts["bytes"] = os.stat(file).st_size
    if output is Format.JSON:
        print_json(facts | {"existed": existed or []})
        return
    there = f"; {len(existed)} models were there already" if existed else ""
    out().print(f"{done} {len(models)} models, {versions} versions, {files} files: {file}{there}", markup=False)
