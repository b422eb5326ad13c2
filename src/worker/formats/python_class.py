"""A plain Python class: `scale.py:Scale` names a file of the version and the Servable in it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import ModelLoadFailed
from ...servable import Padding, Servable
from ...signature import BATCH, Dim, Signature, TensorSpec
from ..loaded import Later, Loaded, Value
from .code_file import import_file


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Import the file, make the servable, and have it load what it needs.

    Raises:
        ModelLoadFailed: the entry does not name a Servable, or its inputs and outputs are not declared.
        Exception: whatever the code raises.
    """
    file, _, name = entry.partition(":")
    cls = getattr(import_file(folder, file), name, None)
    if not (inspect.isclass(cls) and issubclass(cls, Servable)):
        raise ModelLoadFailed(f"{entry}: {name!r} is not a subclass of penstock.Servable in {file}")
    signature = _signature(cls, entry)
    servable = cls()
    servable.device, servable.files = device, folder
    servable.load()
    stream = _streamer(servable, signature) if inspect.isgeneratorfunction(cls.predict) else None
    return Loaded(
        signature,
        _runner(servable, signature),
        stream,
        padding=_padding(cls, entry),
        own_thread=bool(cls.own_thread),
    )


def _signature(cls: type[Servable], entry: str) -> Signature:
    inputs, outputs = _specs(cls, "inputs", entry), _specs(cls, "outputs", entry)
    batched = all(
        spec.shape and isinstance(spec.shape[0], Dim) and spec.shape[0].name == BATCH for spec in inputs + outputs
    )
    return Signature(inputs, outputs, BATCH if batched else "")


def _specs(cls: type[Servable], attribute: str, entry: str) -> tuple[TensorSpec, ...]:
    declared = getattr(cls, attribute, None)
    if not isinstance(declared, Mapping) or not all(isinstance(s, TensorSpec) for s in declared.values()):
        text = f'{entry} must declare {attribute}, as in {attribute} = {{"x": TensorSpec("FP32", ["batch", 16])}}'
        raise ModelLoadFailed(text)
    return tuple(TensorSpec(spec.dtype, spec.shape, name) for name, spec in declared.items())


def _padding(cls: type[Servable], entry: str) -> Padding | None:
    if cls.padding is None or isinstance(cls.padding, Padding):
        return cls.padding
    raise ModelLoadFailed(f"{entry} must declare padding as in padding = Padding(value=0), not {cls.padding!r:.40}")


def _runner(servable: Servable, signature: Signature) -> Any:
    names = [spec.name for spec in signature.inputs]

    def run(values: Sequence[Value]) -> Sequence[Value] | Later:
        answer = servable.predict(**dict(zip(names, values, strict=True)))
        if not isinstance(answer, Mapping) and callable(getattr(answer, "result", None)):
            return Later(lambda: _ordered(answer.result(), signature))
        return _ordered(answer, signature)

    return run


def _streamer(servable: Servable, signature: Signature) -> Any:
    names = [spec.name for spec in signature.inputs]

    def stream(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
        for answer in servable.predict(**dict(zip(names, values, strict=True))):
            yield _ordered(answer, signature)

    return stream


def _ordered(answer: object, signature: Signature) -> Sequence[Value]:
    """The outputs in the signature's order. A wrong answer is the model's mistake: this raises as a model would."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"predict must give a mapping of outputs, not a {type(answer).__name__}")
    missing = [spec.name for spec in signature.outputs if spec.name not in answer]
    if missing:
        raise KeyError(f"predict gave no {', '.join(missing)}")
    return [answer[spec.name] for spec in signature.outputs]
