"""TorchServe's archives (`.mar`, `.tar.gz`, or the folder that was not archived), their handlers unchanged.

A request is one BYTES input `data` [batch], which a handler sees as TorchServe shows it a gRPC request:
`[{"data": bytearray}, …]`; the answer is one BYTES output `output` [batch]: bytes as they are, text as UTF-8, tensors
as torch.save writes them, all else as JSON. A batch of TorchServe is a batch of Penstock.

`signature.json` beside the archive may name other inputs, which are then the keys of the dicts.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ....errors import ModelLoadFailed
from ....signature import BATCH, DType, Signature, TensorSpec, parse_spec
from ...loaded import Loaded
from .archive import MANIFEST, Archive, read_archive
from .handler import load_handler
from .library import provide_ts
from .metrics import Metrics
from .service import Service
from .unpacking import unpack

_FILE = "signature.json"
_ELSEWHERE = ("minWorkers", "maxWorkers", "maxBatchDelay", "responseTimeout", "deviceType", "deviceIds", "parallelType")

log = logging.getLogger("penstock.worker.mar")


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Unpack the archive, import its handler, and let it load the model.

    Raises:
        ArchiveRefused: the archive cannot be read, or holds what is not allowed.
        ModelLoadFailed: it does not say what Penstock needs to know, or needs what is not installed.
        Exception: whatever the handler raises.
    """
    inputs = _inputs(folder / _FILE)
    archive = read_archive(folder if entry == MANIFEST else unpack(folder.resolve(), entry))
    _say_what_is_not_done(archive)
    provide_ts()
    # As in TorchServe: the handler's neighbours can be imported, and opened by their names.
    sys.path.insert(0, str(archive.folder.resolve()))
    os.chdir(archive.folder)
    context = _context(archive, device)
    handler = load_handler(archive, context)
    refusal = _ts("utils.util").PredictionException
    names = [spec.name for spec in inputs]
    service = Service(handler, context, names, _ts("context").RequestProcessor, refusal)
    signature = Signature(inputs, (TensorSpec(DType.BYTES, [BATCH], "output"),), BATCH)
    return Loaded(signature, service.run, default_rows=archive.batch_size, own_thread=True)


def _ts(name: str) -> Any:
    return importlib.import_module(f"ts.{name}")


def _context(archive: Archive, device: str) -> Any:
    kind, _, index = device.partition(":")
    return _ts("context").Context(
        archive.name,
        str(archive.folder.resolve()),
        archive.manifest,
        archive.batch_size,
        int(index or 0) if kind == "cuda" else None,
        _ts("version").__version__,
        metrics=Metrics(),
        model_yaml_config=archive.config,
    )


def _inputs(file: Path) -> tuple[TensorSpec, ...]:
    """The fields of a request."""
    if not file.is_file():
        return (TensorSpec(DType.BYTES, [BATCH], "data"),)
    try:
        specs = tuple(parse_spec(f"{name}={spec}") for name, spec in json.loads(file.read_bytes())["inputs"].items())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelLoadFailed(f'{_FILE} must be like {{"inputs": {{"data": "BYTES[batch]"}}}}: {error}') from error
    for spec in specs:
        if str(spec) != f"BYTES[{BATCH}]":
            raise ModelLoadFailed(f"input {spec.name!r} is {spec}; the handler of a .mar takes BYTES[{BATCH}] only")
    return specs


def _say_what_is_not_done(archive: Archive) -> None:
    if archive.requirements:
        text = "the archive's requirements are not installed; the worker's environment must have them: %s"
        log.warning(text, ", ".join(archive.requirements)[:400])
    said = [name for name in _ELSEWHERE if name in archive.config]
    if said:
        log.info("model-config.yaml says %s, which `penstock publish` decides", ", ".join(said))
