"""What a model takes and gives, and whether given tensors fit.

Knows names, element types and shapes, never values, so that a gateway may check without opening a tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from .errors import Violation

MAX_VIOLATIONS = 16
BATCH = "batch"
"""What the dimension along which requests are joined is called."""


class DType(IntEnum):
    """The element types. Numbers are those of penstock.v1.DataType, names those of the Open Inference Protocol."""

    BOOL = 1
    UINT8 = 2
    UINT16 = 3
    UINT32 = 4
    UINT64 = 5
    INT8 = 6
    INT16 = 7
    INT32 = 8
    INT64 = 9
    FP16 = 10
    FP32 = 11
    FP64 = 12
    BF16 = 13
    BYTES = 14


@dataclass(frozen=True, slots=True)
class Dim:
    """A free dimension: its name, and the sizes that it may have. `maximum` None means that no bound is known."""

    name: str
    minimum: int = 0
    maximum: int | None = None

    def __str__(self) -> str:
        return self.name


def _dim(value: int | str | Dim) -> int | Dim:
    return Dim(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True, init=False)
class TensorSpec:
    """What one input must look like, or what one output looks like.

    Args:
        dtype: a name such as "FP32", or a DType.
        shape: the outermost dimension first; a string (or a Dim with bounds) is a free dimension, and one called
            "batch" that stands first in every input and output is the one along which requests are joined.
        name: set by whoever puts the spec into a Signature.

    Raises:
        ValueError: unknown dtype, or a negative size.
    """

    dtype: DType
    shape: tuple[int | Dim, ...]
    name: str

    def __init__(self, dtype: str | DType, shape: Sequence[int | str | Dim], name: str = "") -> None:
        if isinstance(dtype, str) and dtype not in DType.__members__:
            raise ValueError(f"unknown dtype {dtype!r}; known are {', '.join(DType.__members__)}")
        dims = tuple(_dim(d) for d in shape)
        if any(isinstance(d, int) and d < 0 for d in dims):
            raise ValueError(f"negative size in shape {shape!r}; name a free dimension instead, as in ['batch', 16]")
        object.__setattr__(self, "dtype", DType[dtype] if isinstance(dtype, str) else dtype)
        object.__setattr__(self, "shape", dims)
        object.__setattr__(self, "name", name)

    def __str__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """All inputs and outputs, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch: str = ""
    """The name of the dimension along which requests are joined; empty: the model cannot be batched."""


@dataclass(frozen=True, slots=True)
class TensorShape:
    """What is known of a tensor in a request before its bytes are looked at."""

    name: str
    dtype: DType | None
    """None: not said; then it is the signature's."""
    shape: tuple[int, ...]


@dataclass(slots=True)
class Fit:
    """The outcome of a check."""

    order: list[int] = field(default_factory=list)
    """For each input of the signature the index of its tensor. Complete only without violations."""
    rows: int = 1
    """The size of the batch dimension; 1 if there is none."""
    violations: list[Violation] = field(default_factory=list)


def fit(signature: Signature, tensors: Sequence[TensorShape]) -> Fit:
    """Match tensors with the signature's inputs; a sole tensor without a name is the sole input's."""
    result = Fit()
    specs = {spec.name: spec for spec in signature.inputs}
    found: dict[str, int] = {}
    for index, tensor in enumerate(tensors):
        name = signature.inputs[0].name if _nameless(tensor, specs, tensors) else tensor.name
        if name not in specs:
            hint = f"; the model takes {_quoted(specs)}"
            result.violations.append(Violation(f"inputs[{index}].name", f"unknown input {name[:64]!r}{hint}"))
        elif name in found:
            text = f"input {name!r} is there twice, first as inputs[{found[name]}]"
            result.violations.append(Violation(f"inputs[{index}].name", text))
        else:
            found[name] = index
    for name, spec in specs.items():
        if name not in found:
            result.violations.append(Violation("inputs", f"input {name!r} is missing; it takes {spec}"))
    sizes: dict[str, tuple[int, str]] = {}
    for name, index in found.items():
        result.violations.extend(_misfits(f"inputs[{index}]", specs[name], tensors[index], sizes))
    del result.violations[MAX_VIOLATIONS:]
    result.order = [found[name] for name in specs if name in found]
    result.rows = sizes[signature.batch][0] if signature.batch in sizes else 1
    return result


def _nameless(tensor: TensorShape, specs: dict[str, TensorSpec], tensors: Sequence[TensorShape]) -> bool:
    return not tensor.name and len(specs) == len(tensors) == 1


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _misfits(path: str, spec: TensorSpec, tensor: TensorShape, sizes: dict[str, tuple[int, str]]) -> list[Violation]:
    """What is wrong with one tensor; `sizes` collects what each free dimension is, and where it was first seen."""
    if tensor.dtype is not None and tensor.dtype != spec.dtype:
        return [Violation(f"{path}.dtype", f"input {spec.name!r} takes {spec}, got {tensor.dtype.name}")]
    got = list(tensor.shape)
    if len(got) != len(spec.shape):
        text = f"input {spec.name!r} takes {spec}, got shape {got[:16]}: {len(spec.shape)} dimensions expected"
        return [Violation(f"{path}.shape", text)]
    found = []
    for axis, (size, wanted) in enumerate(zip(tensor.shape, spec.shape, strict=True)):
        problem = _misfit(size, wanted, sizes, f"{path}.shape[{axis}]")
        if problem:
            text = f"input {spec.name!r} takes {spec}, got {got[:16]}: {problem}"
            found.append(Violation(f"{path}.shape[{axis}]", text))
    return found


def _misfit(size: int, wanted: int | Dim, sizes: dict[str, tuple[int, str]], path: str) -> str:
    if isinstance(wanted, int):
        return "" if size == wanted else f"expected {wanted}, got {size}"
    smallest = max(wanted.minimum, 1 if wanted.name == BATCH else 0)
    if size < smallest:
        return f"{wanted.name} must be at least {smallest}, got {size}"
    # More rows than the model takes at once is another error, BatchTooLarge: the batching policy knows that bound.
    if wanted.maximum is not None and size > wanted.maximum and wanted.name != BATCH:
        return f"{wanted.name} must be at most {wanted.maximum}, got {size}"
    known, where = sizes.setdefault(wanted.name, (size, path))
    return "" if known == size else f"{wanted.name} is {known} in {where}, here {size}"


_SPEC = re.compile(r"(?P<name>[^=\s]+)=(?P<dtype>\w+)\[(?P<shape>[^\]]*)\]")


def parse_spec(text: str) -> TensorSpec:
    """Read `x=FP32[batch,64]`, as people write it on the command line.

    Raises:
        ValueError: it is written otherwise, or the dtype is unknown.
    """
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not like x=FP32[batch,64]")
    sizes = [size.strip() for size in match["shape"].split(",") if size.strip()]
    return TensorSpec(match["dtype"], [int(s) if s.lstrip("-").isdigit() else s for s in sizes], match["name"])
