"""`publish`: upload a version and wait until it is AVAILABLE."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from .control import control, model_record, version_record
from .examples import Atol, Golden, Optimization, Optimize, Rtol, WarmUp, read_examples
from .models import load_pinned
from .options import Address, ApiKey, Format, Output
from .output import err, out, print_json, progress
from .padding import Buckets, Masks, MaxFraction, Pad, Value, read_padding
from .signing import SignKey, signature_file
from .source import read_source
from .upload import Upload
from .wait import wait_until_available


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(publish)


def publish(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    source: Annotated[
        str,
        typer.Argument(
            help="model.pt2 | .pt | .onnx | .mar | weights | folder | [FOLDER:]file.py:Class | models:/name@alias | URL"
        ),
    ],
    version: Annotated[int, typer.Option(help="Its number; 0: the next one.")] = 0,
    alias: Annotated[list[str] | None, typer.Option(help="An alias that shall mean it; may be repeated.")] = None,
    max_batch_size: Annotated[int, typer.Option(help="The most rows that run together; 0: the default.")] = 0,
    max_queue_delay: Annotated[float, typer.Option(help="Seconds that an idle device waits for more rows.")] = 0.0,
    instances: Annotated[int, typer.Option(help="How many workers; 0: as SOURCE or the model's policy says.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; empty: likewise.")] = "",
    lazy: Annotated[bool, typer.Option("--lazy", help="A new model: load it when it is first asked for.")] = False,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", help="Of models that do not say it: x=FP32\\[batch,64]; may be repeated."),
    ] = None,
    example: Annotated[
        list[str] | None, typer.Option(help="Instead of --input: x=@x.npy, or x.npy if it is the only one.")
    ] = None,
    no_batch: Annotated[bool, typer.Option("--no-batch", help="Examples have no batch dimension.")] = False,
    factory: Annotated[str, typer.Option(help="What makes the module that weights are for: model.py:build.")] = "",
    pad: Pad = False,
    pad_value: Value = None,
    mask: Masks = None,
    length_bucket: Buckets = None,
    max_pad_fraction: MaxFraction = None,
    golden: Golden = None,
    golden_rtol: Rtol = None,
    golden_atol: Atol = None,
    warm_up: WarmUp = None,
    optimize: Optimization = Optimize.NONE,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be repeated.")] = None,
    entry: Annotated[str, typer.Option(help="If SOURCE is the URL of a folder: what to load in it.")] = "",
    sign_key: SignKey = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return when it is stored.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it is AVAILABLE.")] = 300.0,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Store a new version and load it. A model's first version gets the alias `stable`; later ones when told to."""
    padding = read_padding(pad, pad_value, mask or [], length_bucket or [], max_pad_fraction)
    known = read_source(
        source, input_ or [], examples=example or [], batch=not no_batch, factory=factory, version=version, entry=entry
    )
    said = known.suggested
    examples, more = read_examples(golden, golden_rtol, golden_atol, warm_up)
    files = (*known.files, *more)
    header = pb.PublishHeader(
        name=name,
        version=version or said.version,
        format=known.format,
        entry=known.entry,
        files=[file.entry() for file in files],
        batching=model_pb2.BatchPolicy(max_batch_size=max_batch_size or said.max_batch_size, padding=padding),
        labels=_labels(label or []),
        aliases=(alias or []) if no_wait else [],  # else they move once the version answers
        instances=instances or said.instances,
        device=device or said.device,
        examples=examples,
        optimization=optimize.number,
        policy=pb.ServingPolicy(lazy=lazy),
        url=known.url,
    )
    delay = max_queue_delay or said.max_queue_delay_s
    header.batching.max_queue_delay.FromMicroseconds(round(delay * 1e6))
    signature = signature_file(header, sign_key) if sign_key else ()
    header.files.extend(file.entry() for file in signature)
    for note in said.notes:
        err().print(note)
    with control(address, api_key) as registry, progress() as bar:
        task = bar.add_task(f"uploading {name}", total=sum(entry.size for entry in header.files) or 1)
        upload = Upload(registry, header, (*files, *signature), lambda size: bar.update(task, completed=size))
        published = upload.run()
        number = published.manifest.version
        model = model_record(registry, name)
    wanted = bool(version_record(model, number).desired_instances)
    loaded = not no_wait and (wanted or bool(alias))
    if loaded and wanted:
        wait_until_available(name, number, timeout, address, api_key)
    elif loaded:  # the policy does not load it, or there is no room yet
        load_pinned(name, number, timeout, address, api_key)
    if loaded:
        _move_aliases(model, number, alias or [], address, api_key)
    if output is Format.JSON:
        print_json({"name": name, "version": number, "existed": published.existed, "sent_bytes": upload.sent})
    else:
        out().print(f"{name} version {number} {'is [green]AVAILABLE[/]' if loaded else 'is stored'}")
        if not loaded and not no_wait:
            err().print(f"it is not loaded, see `penstock status {name}`; `penstock deploy {name} --version {number}`")
        if published.existed:
            err().print("the same content was published under this version before; nothing was changed")


def _move_aliases(
    before: pb.ModelRecord, version: int, aliases: list[str], address: str | None, api_key: str | None
) -> None:
    """Only now that the version answers: no caller waits for it. Who moved an alias meanwhile is not overruled."""
    with control(address, api_key) as registry:
        for alias in aliases:
            request = pb.SetAliasRequest(name=before.name, alias=alias, version=version)
            request.expected_version = before.aliases.get(alias, 0)
            registry.stub.SetAlias(request, timeout=30.0, metadata=registry.metadata)


def _labels(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--label")
    return dict(pair.split("=", 1) for pair in pairs)
