"""What an unpacked archive says of itself: MAR-INF/MANIFEST.json, and model-config.yaml where there is one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ....errors import ModelLoadFailed

MANIFEST = "MAR-INF/MANIFEST.json"
_MOST_BYTES = 1024 * 1024
_FILES = ("serializedFile", "modelFile", "configFile", "requirementsFile")
_RUNTIMES = ("python", "python3")


@dataclass(frozen=True, slots=True)
class Archive:
    """A folder that torch-model-archiver filled, checked as far as Penstock reads it."""

    folder: Path
    manifest: dict[str, Any]
    """As it was written; handlers get it."""
    name: str
    handler: str
    """`handler.py`, `handler.py:function`, or the name of one of TorchServe's own."""
    config: dict[str, Any]
    """Of model-config.yaml; empty without one."""
    requirements: tuple[str, ...]
    """The lines of requirements.txt. Nothing installs them."""

    @property
    def batch_size(self) -> int:
        """The most rows of a batch; 1, as in TorchServe, if model-config.yaml does not say `batchSize`."""
        return int(self.config.get("batchSize", 1))


def read_archive(folder: Path) -> Archive:
    """Read and check.

    Args:
        folder: with the files of the archive, or with one folder that has them, as a tar of torch-model-archiver.

    Raises:
        ModelLoadFailed: there is no manifest, or it is wrong, or what it names is not there.
    """
    folder = _with_manifest(folder)
    manifest = _json(folder / MANIFEST)
    said = manifest.get("model")
    if not isinstance(said, dict) or not isinstance(said.get("handler"), str) or not said["handler"]:
        raise _wrong('must be like {"model": {"modelName": "…", "handler": "…"}}')
    runtime = str(manifest.get("runtime", "python")).lower()
    if runtime not in _RUNTIMES:
        raise ModelLoadFailed(f"the archive is for the runtime {runtime[:40]!r}; Penstock runs handlers of Python")
    files = {key: _file(folder, key, said[key]) for key in _FILES if said.get(key)}
    return Archive(
        folder,
        manifest,
        str(said.get("modelName", "")),
        said["handler"],
        _config(files.get("configFile")),
        _lines(files.get("requirementsFile")),
    )


def _wrong(what: str) -> ModelLoadFailed:
    return ModelLoadFailed(f"{MANIFEST} {what}; make the archive anew with torch-model-archiver")


def _with_manifest(folder: Path) -> Path:
    inside = [path for path in folder.iterdir() if path.is_dir()]
    candidates = [folder, *inside] if len(inside) == 1 else [folder]
    for candidate in candidates:
        if (candidate / MANIFEST).is_file():
            return candidate
    raise ModelLoadFailed(f"the archive has no {MANIFEST}; make it with torch-model-archiver")


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MOST_BYTES:
        raise _wrong(f"has more than {_MOST_BYTES} bytes")
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _wrong(f"is not JSON ({type(error).__name__})") from None
    if not isinstance(manifest, dict):
        raise _wrong("is not an object")
    return manifest


def _file(folder: Path, key: str, name: object) -> Path:
    """A file that the manifest names."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    if not parts or parts[0] == "/" or ".." in parts:
        raise _wrong(f"names {str(name)[:64]!r} as {key}: not a path inside the archive")
    path = folder.joinpath(*parts)
    if not path.is_file():
        raise _wrong(f"names {str(name)[:64]!r} as {key}, and the archive has no such file")
    return path


def _config(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        import yaml
    except ModuleNotFoundError:
        text = f"the archive has a {path.name}, and workers have no yaml to read it: pip install 'penstock[mar]'"
        raise ModelLoadFailed(text) from None
    if path.stat().st_size > _MOST_BYTES:
        raise ModelLoadFailed(f"{path.name} has more than {_MOST_BYTES} bytes")
    try:
        config = yaml.safe_load(path.read_bytes()) or {}
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise ModelLoadFailed(f"{path.name} is not YAML: {str(error)[:200]}") from None
    rows = config.get("batchSize", 1) if isinstance(config, dict) else None
    if not isinstance(rows, int) or rows < 1:
        raise ModelLoadFailed(f"{path.name} must be a mapping, and batchSize in it a number of at least 1")
    return dict(config)


def _lines(path: Path | None) -> tuple[str, ...]:
    if path is None or path.stat().st_size > _MOST_BYTES:
        return ()
    lines = (line.split("#")[0].strip() for line in path.read_text(errors="replace").splitlines())
    return tuple(line for line in lines if line)
