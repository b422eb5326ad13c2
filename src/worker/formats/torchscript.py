"""TorchScript `.pt` (deprecated upstream, still everywhere). It carries no shapes, so they are published beside it.

`signature.json` stands in the version's folder, or in the archive's extra files; `penstock publish --input` writes
it. Only inputs must be given: what comes out is found by running the model with two batch sizes.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelLoadFailed
from ...signature import BATCH, Dim, Signature, TensorSpec, parse_spec
from ...torch_tensors import TORCH, dtype_of_torch
from ..loaded import Loaded, Value

_FILE = "signature.json"


def load(folder: Path, entry: str, device: str) -> Loaded:
    """Load the archive and find out what it gives.

    Raises:
        ModelLoadFailed: no signature, or it is wrong, or the model does not give tensors.
    """
    extra = {_FILE: b""}
    module = _read(folder / entry, device, extra)
    inputs = _declared_inputs(folder, bytes(extra[_FILE]))
    run = _runner(module)
    with torch.inference_mode():
        outputs = _outputs(run, inputs, device)
    every = [*inputs, *outputs]
    batched = all(spec.shape and isinstance(spec.shape[0], Dim) and spec.shape[0].name == BATCH for spec in every)
    return Loaded(Signature(inputs, outputs, BATCH if batched else ""), lambda values: list(run(values).values()))


def _read(path: Path, device: str, extra: dict[str, Any]) -> Any:
    archive: Any = torch.jit.load  # untyped upstream
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream's note that TorchScript is deprecated: it is why this file exists
        try:
            return archive(str(path), map_location=device, _extra_files=extra).eval()
        except Exception as error:
            text = f"{path.name} cannot be read by torch.jit.load: {str(error)[:200]}"
            raise ModelLoadFailed(text) from error


def _declared_inputs(folder: Path, inside: bytes) -> tuple[TensorSpec, ...]:
    file = folder / _FILE
    text = file.read_bytes() if file.is_file() else inside
    if not text:
        raise ModelLoadFailed(
            "TorchScript carries no shapes; publish with --input NAME=DTYPE[SHAPE], as in --input x=FP32[batch,64]"
        )
    try:
        specs = tuple(parse_spec(f"{name}={spec}") for name, spec in json.loads(text)["inputs"].items())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelLoadFailed(f'{_FILE} must be like {{"inputs": {{"x": "FP32[batch,64]"}}}}: {error}') from error
    for spec in specs:
        if spec.dtype not in TORCH:
            raise ModelLoadFailed(f"input {spec.name!r} is {spec.dtype.name}, which TorchScript does not have")
    return specs


def _runner(module: Any) -> Any:
    def run(values: Sequence[Value]) -> dict[str, Value]:
        return _named(module(*values))

    return run


def _named(answer: object) -> dict[str, torch.Tensor]:
    if isinstance(answer, torch.Tensor):
        return {"output": answer}
    if isinstance(answer, (tuple, list)) and all(isinstance(v, torch.Tensor) for v in answer):
        return {f"output_{i}": v for i, v in enumerate(answer)}
    if isinstance(answer, Mapping) and all(isinstance(v, torch.Tensor) for v in answer.values()):
        return {str(k): v for k, v in answer.items()}
    raise ModelLoadFailed(
        f"the model gives a {type(answer).__name__}; it must give tensors, or a tuple or dict of them"
    )


def _outputs(run: Any, inputs: Sequence[TensorSpec], device: str) -> tuple[TensorSpec, ...]:
    """A size that follows the batch is called batch; all others are taken as fixed where two runs agree."""
    small, large = (run([_zeros(spec, rows, device) for spec in inputs]) for rows in (2, 3))
    specs = []
    for name, first in small.items():
        dims: list[int | str] = []
        for axis, (a, b) in enumerate(zip(first.shape, large[name].shape, strict=True)):
            dims.append(a if a == b else BATCH if (a, b) == (2, 3) else f"{name}_{axis}")
        specs.append(TensorSpec(dtype_of_torch(first.dtype), dims, name))
    return tuple(specs)


def _zeros(spec: TensorSpec, rows: int, device: str) -> torch.Tensor:
    sizes = [d if isinstance(d, int) else rows if d.name == BATCH else max(d.minimum, 8) for d in spec.shape]
    return torch.zeros(sizes, dtype=TORCH[spec.dtype], device=device)
