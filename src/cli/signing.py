"""Sign what is published, and `sign` for what is published from a URL."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..config import BadSetting
from ..signing import SIGNATURE_FILE, BadKey, Statement, sign
from .options import Format, Output
from .output import out, print_json
from .source import File, read_source

SignKey = Annotated[Path | None, typer.Option(help="Sign with this private key (Ed25519, PEM).", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("sign")(sign_source)


def signature_file(header: pb.PublishHeader, key: Path) -> tuple[File]:
    """The file to publish with those of a header.

    Raises:
        BadSetting: the version's number is not said, the files are not here, or the key cannot be read.
    """
    if not header.version:
        raise BadSetting("what is signed is a version with a number: give --version, too")
    if header.url:
        raise BadSetting(
            f"files of a URL are not here to be signed; put {SIGNATURE_FILE} of `penstock sign` beside them"
        )
    return (_signed(header.name, header.version, header.format, header.entry, header.files, key),)


def sign_source(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    source: Annotated[str, typer.Argument(help="The files, as for `publish`; they must be here.")],
    key: Annotated[Path, typer.Option(help="The private key (Ed25519, PEM).")],
    version: Annotated[int, typer.Option(help="The version's number.")],
    input_: Annotated[list[str] | None, typer.Option("--input", help="As for `publish`.")] = None,
    to: Annotated[Path, typer.Option(help="The file to write.")] = Path(SIGNATURE_FILE),
    output: Output = Format.TABLE,
) -> None:
    """Write the signature of files that a registry will fetch from a URL; it belongs beside them there."""
    known = read_source(source, input_ or [])
    files = [file.entry() for file in known.files if file.path != SIGNATURE_FILE]
    signed = _signed(name, version, known.format, known.entry, files, key)
    to.write_bytes(b"".join(signed.chunks()))
    if output is Format.JSON:
        print_json({"name": name, "version": version, "file": str(to), "format": known.format, "entry": known.entry})
    else:
        out().print(f"{to} signs {len(files)} files as {name} version {version}", markup=False)


def _signed(name: str, version: int, format_: str, entry: str, files: Iterable[model_pb2.FileEntry], key: Path) -> File:
    statement = Statement(name, version, format_, entry, {file.path: file.sha256 for file in files})
    try:
        return File(SIGNATURE_FILE, sign(statement, key))
    except BadKey as error:
        raise BadSetting(str(error)) from None
