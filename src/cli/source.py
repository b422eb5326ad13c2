"""What SOURCE on the command line means: which files are published, and how they are to be read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.v1 import model_pb2

from ..config import BadSetting
from ..signature import TensorSpec
from ..worker.compiled.package import is_package
from .declared import FILE, declared_inputs, signature_file
from .packaged import read_packaged
from .triton import is_triton, models_in, read_triton
from .urls import described, is_url

_SUFFIXES = {".pt2": "torch_export", ".pt": "torchscript", ".ts": "torchscript", ".onnx": "onnx"}
_ARCHIVES = {".mar": "torchserve", ".tgz": "torchserve"}
_WEIGHTS = {".safetensors": "safetensors", ".pth": "state_dict", ".pt": "state_dict", ".bin": "state_dict"}
"""What needs code that makes the module."""
_SELF_DESCRIBED = ("torch_export", "python")
_CHUNK = 1024 * 1024
_SKIPPED = {"__pycache__", ".git"}
_FACTORY = "model.py:build"


@dataclass(frozen=True, slots=True)
class File:
    """One file to publish: where its bytes are, and its path in the version."""

    path: str
    source: Path | bytes

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """The bytes from an offset on, in pieces of at most 1 MiB; none for an empty file."""
        if isinstance(self.source, bytes):
            yield from filter(None, [self.source[offset:]])
            return
        with self.source.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(_CHUNK):
                yield chunk

    def entry(self) -> model_pb2.FileEntry:
        """Path, size and digest; reads the file."""
        digest, size = hashlib.sha256(), 0
        for chunk in self.chunks():
            digest.update(chunk)
            size += len(chunk)
        return model_pb2.FileEntry(path=self.path, size=size, sha256=digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Suggested:
    """How the source itself says that it is to be served; options of the command go before it."""

    version: int = 0
    """0 and empty: nothing is said."""
    max_batch_size: int = 0
    max_queue_delay_s: float = 0.0
    instances: int = 0
    device: str = ""
    notes: tuple[str, ...] = ()
    """What the publisher should know."""


@dataclass(frozen=True, slots=True)
class Source:
    """What will be published."""

    format: str
    entry: str
    files: tuple[File, ...]
    suggested: Suggested = Suggested()
    held: object = None
    """Must be held as long as the files are read."""
    url: str = ""
    """Where the registry fetches the other files itself."""


def read_source(
    source: str,
    inputs: Sequence[str] = (),
    *,
    examples: Sequence[str] = (),
    batch: bool = True,
    factory: str = "",
    version: int = 0,
    entry: str = "",
) -> Source:
    """Understand SOURCE.

    Args:
        source: `model.pt2`, `model.pt`, `model.onnx`, weights (with `factory`), a folder with such files or of a Triton
            repository, `file.py:Class`, or `folder/file.py:Class` preceded by nothing else; a Python file is published
            with the other files of its folder only if the folder is named: `folder:file.py:Class`.
            Or what `read_packaged` knows. Or a URL, whose files are not here.
        inputs: for formats that carry no signature, `x=FP32[batch,64]` each.
        examples: instead, `x=@x.npy` each.
        batch: whether the first dimension of an example is the batch.
        factory: for weights, `model.py:build`: the code that makes the module.
        version: which version of a Triton repository; 0: the greatest.
        entry: what to load in the folder of a URL.

    Raises:
        BadSetting: it is none of these, or a file is missing.
    """
    if is_url(source):
        known = Source(*described(source, entry, _SUFFIXES | _ARCHIVES), (), url=source)
    elif source.count(":") and source.rpartition(":")[0].endswith(".py"):
        known = _python(source)
    elif (packaged := read_packaged(source)) is not None:
        if Path(source).is_dir():
            _require_inside(Path(source), [where for _, where in packaged.files])
        files = tuple(File(name, where) for name, where in packaged.files)
        known = Source(packaged.format, packaged.entry, files, held=packaged)
    elif (path := Path(source)).is_dir():
        known = _triton(path, version) if is_triton(path) else _folder(path, factory)
    elif path.suffix in _WEIGHTS and (factory or path.suffix not in _SUFFIXES):
        known = _weights(path, factory)
    else:
        known = _model(path)
    return _declared(known, declared_inputs(inputs, examples, batch=batch))


def _model(path: Path) -> Source:
    if path.suffix not in _SUFFIXES:
        known = "model.pt2, model.pt (TorchScript), model.onnx, model.mar, weights (.safetensors, .pth), a folder"
        raise BadSetting(f"SOURCE {str(path)!r} is not known; publish {known} or file.py:Class (a penstock.Servable)")
    _require(path)
    # What is too much for one file of ONNX (2 GB) lies beside it.
    beside = [path.with_name(path.name + end) for end in (".data", "_data")] if path.suffix == ".onnx" else []
    files = [path, *filter(Path.is_file, beside)]
    format_ = "aot_inductor" if path.suffix == ".pt2" and is_package(path) else _SUFFIXES[path.suffix]
    return Source(format_, path.name, tuple(File(p.name, p) for p in files))


def _weights(path: Path, factory: str) -> Source:
    """One file of weights, and one of code, from anywhere."""
    code, _, name = factory.rpartition(":")
    if not code.endswith(".py"):
        raise BadSetting(f"{path} holds weights only; name the code that makes the module: --factory model.py:build")
    _require(path)
    _require(Path(code))
    return Source(
        _WEIGHTS[path.suffix],
        f"{Path(code).name}:{name}",
        (File(Path(code).name, Path(code)), File(path.name, path)),
    )


def _folder(root: Path, factory: str) -> Source:
    """A folder with a model in it, published whole."""
    names = sorted(path.name for path in root.iterdir() if path.is_file())
    format_ = _format_of(root, names, factory)
    if format_ in _WEIGHTS.values():
        entry = factory or _FACTORY
        if not (root / entry.rpartition(":")[0]).is_file():
            raise BadSetting(f"{root} has no {entry.rpartition(':')[0]} that makes the module; name one with --factory")
    else:
        entry = next(name for name in names if _SUFFIXES.get(Path(name).suffix) == format_)
    return Source(format_, entry, _all_files(root))


def _format_of(root: Path, names: Sequence[str], factory: str) -> str:
    suffixes = [Path(name).suffix for name in names]
    if ".safetensors" in suffixes:
        return "safetensors"
    with_code = factory or _FACTORY.partition(":")[0] in names
    known = [table[s] for s in suffixes for table in ((_WEIGHTS,) if with_code else (_SUFFIXES,)) if s in table]
    known = known or [_SUFFIXES[s] for s in suffixes if s in _SUFFIXES]
    if len(known) != 1:
        what = f"{len(known)} models" if known else "no model"
        models = ", ".join(map(str, models_in(root)[:8]))
        raise BadSetting(f"the folder {root} has {what} in it; name {f'one of {models}' if models else 'the file'}")
    return known[0]


def _triton(root: Path, version: int) -> Source:
    """A version of a Triton repository becomes one of the model's own format, with what the configuration says."""
    found = read_triton(root, version)
    config, model = found.config, found.model
    if model.suffix not in _SUFFIXES:
        raise BadSetting(f"{model} is of no known format")
    format_ = _SUFFIXES[model.suffix]
    files = [file for file in _all_files(model.parent) if file.path != FILE]
    if config.inputs and format_ not in _SELF_DESCRIBED:
        files.append(File(FILE, signature_file(config.inputs, config.outputs)))
    suggested = Suggested(
        found.version, config.max_batch_size, config.max_queue_delay_s, config.instances, config.device, found.notes
    )
    return Source(format_, model.name, tuple(files), suggested)


def _python(source: str) -> Source:
    path, _, name = source.rpartition(":")
    folder, _, file = path.rpartition(":")
    if not folder:
        _require(Path(path))
        return Source("python", f"{Path(path).name}:{name}", (File(Path(path).name, Path(path)),))
    root = Path(folder)
    _require(root / file)
    return Source("python", f"{file}:{name}", _all_files(root))


def _all_files(root: Path) -> tuple[File, ...]:
    found = sorted(p for p in root.rglob("*") if p.is_file() and not _SKIPPED & set(p.relative_to(root).parts))
    _require_inside(root, found)
    return tuple(File(p.relative_to(root).as_posix(), p) for p in found)


def _require_inside(root: Path, found: Sequence[Path]) -> None:
    """A link that leads out of the folder would publish what nobody meant to."""
    for path in found:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadSetting(f"{path} is a link to a file outside {root}; put the file itself there")


def _declared(known: Source, inputs: Sequence[TensorSpec]) -> Source:
    """With what the command line says of the inputs."""
    if not inputs:
        return known
    if known.format in _SELF_DESCRIBED:
        raise BadSetting(f"--input and --example are for formats that carry no signature; {known.entry} has its own")
    others = tuple(file for file in known.files if file.path != FILE)
    return replace(known, files=(*others, File(FILE, signature_file(inputs))))


def _require(path: Path) -> None:
    if not path.is_file():
        raise BadSetting(f"there is no file {path}")
