"""The folder of one model in a Triton repository: `NAME/1/model.onnx`, with or without `NAME/config.pbtxt`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config import BadSetting
from .triton_config import TritonConfig, read_config

_CONFIG = "config.pbtxt"
_MODELS = ("model.onnx", "model.pt", "model.pt2")
_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TritonModel:
    """One version of it."""

    version: int
    model: Path
    config: TritonConfig
    notes: tuple[str, ...]
    """What its publisher should know."""


def is_triton(folder: Path) -> bool:
    """Whether this is such a folder."""
    found = _versions(folder).values()
    return (folder / _CONFIG).is_file() or any((path / name).is_file() for path in found for name in _MODELS)


def models_in(repository: Path) -> list[Path]:
    """The folders of a whole repository."""
    return sorted(path for path in repository.iterdir() if path.is_dir() and is_triton(path))


def read_triton(folder: Path, version: int = 0) -> TritonModel:
    """Choose a version, by its number, and read what is said of it.

    Args:
        folder: of the model.
        version: 0: the greatest.

    Raises:
        BadSetting: there is no such version, no model in it, or it asks for what is not served here.
    """
    versions = _versions(folder)
    if not versions:
        raise BadSetting(f"{folder} has no folder of a version in it, as in NAME/1/model.onnx")
    chosen = version or max(versions)
    if chosen not in versions:
        raise BadSetting(f"{folder} has no version {chosen}; it has {', '.join(map(str, sorted(versions)))}")
    config = _config(folder / _CONFIG)
    model = _model(versions[chosen], config.filename)
    return TritonModel(chosen, model, config, tuple(_notes(folder, config, model)))


def _versions(folder: Path) -> dict[int, Path]:
    """Triton's rule: a number that does not begin with 0."""
    found = [p for p in folder.iterdir() if p.is_dir() and p.name.isdecimal() and not p.name.startswith("0")]
    return {int(path.name): path for path in found}


def _config(path: Path) -> TritonConfig:
    if not path.is_file():
        return TritonConfig()
    if path.stat().st_size > _MOST_BYTES:
        raise BadSetting(f"{path} has more than {_MOST_BYTES} bytes")
    return read_config(path.read_text(errors="replace"))


def _model(folder: Path, filename: str) -> Path:
    names = (filename,) if filename else _MODELS
    for name in names:
        if Path(name).name == name and (folder / name).is_file():
            return folder / name
    raise BadSetting(f"{folder} has no {' or '.join(names)}")


def _notes(folder: Path, config: TritonConfig, model: Path) -> list[str]:
    notes = []
    if config.passed_over:
        notes.append(f"not used of config.pbtxt: {', '.join(config.passed_over)}")
    if config.name and config.name != folder.resolve().name:
        notes.append(f"config.pbtxt calls the model {config.name!r}")
    if model.suffix == ".pt2" and (config.inputs or config.outputs):
        notes.append("not used of config.pbtxt: input, output; a .pt2 says them itself")
    return notes
