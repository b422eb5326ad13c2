"""`predict`: ask a model from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import BadSetting
from .options import Address, Alias, ApiKey, Format, Output, Version, client
from .output import err, print_json


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(predict)


def predict(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    inputs: Annotated[str | None, typer.Argument(help='JSON: {"x": [[1, 2]]}', show_default=False)] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME=@FILE.npy, NAME=@FILE (its bytes: one element) or NAME=JSON"),
    ] = None,
    version: Version = None,
    alias: Alias = None,
    timeout: Annotated[float, typer.Option(help="Seconds.")] = 30.0,
    timings: Annotated[bool, typer.Option("--timings", help="Say how long it took where.")] = False,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Ask a model and print its answer as JSON."""
    given = _inputs(inputs, input_ or [])
    with client(address, api_key) as caller:
        described = caller.metadata(name, version=version, alias=alias)
        typed = _as_declared(given, described.signature)
        answer = caller.predict(name, typed, version=version, alias=alias, timeout=timeout, timings=timings)
    values = {key: _plain(value) for key, value in answer.items()}
    if output is Format.JSON:
        print_json({"model": answer.model, "version": answer.version, "outputs": values})
    else:
        print(json.dumps(values))
        err().print(f"[dim]{answer.model} version {answer.version}, request {answer.request_id}[/]")
    if answer.timings is not None:
        timing = answer.timings
        queue, compute = timing.queue_s * 1000, timing.compute_s * 1000
        err().print(f"[dim]queue {queue:.2f} ms, compute {compute:.2f} ms, batch of {timing.batch_size}[/]")


def _inputs(text: str | None, options: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if text is not None:
        found = _json(text, "the argument")
        if not isinstance(found, dict):
            raise BadSetting('inputs are an object by name, such as {"x": [[1, 2]]}')
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise BadSetting(f"--input {option!r} is not NAME=@FILE.npy, NAME=@FILE or NAME=JSON")
        found[name] = _load(Path(value[1:])) if value.startswith("@") else _json(value, f"--input {name}")
    if not found:
        raise BadSetting("no inputs: give JSON, or --input NAME=@FILE.npy")
    return found


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadSetting(f"{where} is not JSON: {error}") from None


def _load(path: Path) -> Any:
    import numpy as np

    try:
        if path.suffix != ".npy":  # an image or a text, as it is
            return np.array([path.read_bytes()], object)
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        form = " as .npy" if path.suffix == ".npy" else ""
        raise BadSetting(f"{path} cannot be read{form}: {error}") from None


def _as_declared(given: dict[str, Any], signature: Any) -> dict[str, Any]:
    """Numbers in JSON have no type: give them the signature's, where the values allow it."""
    import numpy as np

    from ..signature import DType
    from ..tensors import STORAGE

    specs = {spec.name: spec for spec in signature.inputs} if signature else {}
    typed = dict(given)
    for name, value in given.items():
        dtype = specs[name].dtype if name in specs else None
        if isinstance(value, (list, int, float)) and dtype not in (None, DType.BYTES, DType.BF16):
            try:
                typed[name] = np.array(value, STORAGE[dtype])
            except (ValueError, OverflowError) as error:
                raise BadSetting(f"input {name!r} is not an array of {specs[name]}: {error}") from None
    return typed


def _plain(value: Any) -> Any:
    """As JSON can say it; bytes as text where they are text."""
    return _text(value.tolist())


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value
