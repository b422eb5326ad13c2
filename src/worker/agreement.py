"""Whether a model's answer is what it should be: shapes and element types exactly, values within a tolerance.

Decisions only: arrays in, a sentence out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..signature import Dim, DType, TensorSpec
from ..tensors import STORAGE, Array, widened

_DEFAULTS = {
    DType.FP64: (1e-6, 1e-8),
    DType.FP32: (1e-3, 1e-4),
    DType.FP16: (1e-2, 1e-3),
    DType.BF16: (3e-2, 3e-3),
}
"""Relative and absolute: what other devices and compilers make of the same weights stays within them (sums in another
order, TF32), what another element type makes of them mostly does not."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a floating value may be from what it should be: atol + rtol * |expected|. None: by its element type.

    All other element types must be equal.
    """

    rtol: float | None = None
    atol: float | None = None

    def of(self, dtype: DType) -> tuple[float, float]:
        """Both for an element type. One alone that was given goes without the other."""
        if dtype not in _DEFAULTS:
            return 0.0, 0.0
        if self.rtol is None and self.atol is None:
            return _DEFAULTS[dtype]
        return self.rtol or 0.0, self.atol or 0.0


def misshapen(spec: TensorSpec, array: Array) -> str:
    """How an output differs from what the signature says of it; empty if it does not."""
    fits = len(array.shape) == len(spec.shape) and all(
        isinstance(wanted, Dim) or size == wanted for size, wanted in zip(array.shape, spec.shape, strict=True)
    )
    if fits and array.dtype == STORAGE[spec.dtype]:
        return ""
    return f"output {spec.name!r} should be {spec}, and the model gave {array.dtype}{list(array.shape)}"


def disagreement(
    specs: Sequence[TensorSpec], got: Sequence[Array], expected: Sequence[Array], tolerance: Tolerance
) -> str:
    """The first output that is not what it should be, and how far it is off; empty if all are.

    Args:
        specs: the signature's outputs.
        got: one array for each, as the model gave it.
        expected: one array for each, of the element type that the spec says.
        tolerance: for floating types. NaN is equal to NaN and to nothing else, infinity to itself.
    """
    for spec, one, other in zip(specs, got, expected, strict=True):
        problem = misshapen(spec, one) or _other_shape(spec, one, other) or _values(spec, one, other, tolerance)
        if problem:
            return problem
    return ""


def _other_shape(spec: TensorSpec, got: Array, expected: Array) -> str:
    if got.shape == expected.shape:
        return ""
    return f"output {spec.name!r} should have the shape {list(expected.shape)}, and has {list(got.shape)}"


def _values(spec: TensorSpec, got: Array, expected: Array, tolerance: Tolerance) -> str:
    if spec.dtype in _DEFAULTS:
        return _floats(spec, widened(got, spec.dtype), widened(expected, spec.dtype), tolerance.of(spec.dtype))
    wrong = got != expected
    if not wrong.any():
        return ""
    at = tuple(int(index) for index in np.argwhere(wrong)[0])
    found = f"{_count(wrong)}, the first at {list(at)}: {_shown(got[at])} instead of {_shown(expected[at])}"
    return f"output {spec.name!r} differs in {found}"


def _floats(
    spec: TensorSpec, got: NDArray[np.float64], expected: NDArray[np.float64], tolerance: tuple[float, float]
) -> str:
    rtol, atol = tolerance
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    finite = np.isfinite(got) & np.isfinite(expected)
    with np.errstate(all="ignore"):
        off = np.where(same, 0.0, np.abs(got - expected))
        wrong = ~(same | (finite & (off <= atol + rtol * np.abs(expected))))
        share = np.where(same, 0.0, off / np.abs(expected))
    if not wrong.any():
        return ""
    odd = np.argwhere(wrong & ~finite)
    if len(odd):
        at = tuple(int(index) for index in odd[0])
        worst = f"at {list(at)} there is {got[at]:.7g} instead of {expected[at]:.7g}"
    else:
        worst = f"at most by {_greatest(off, got, expected)}, relatively by {_greatest(share, got, expected)}"
    return f"output {spec.name!r} differs in {_count(wrong)}: {worst}; allowed are rtol {rtol:g}, atol {atol:g}"


def _greatest(figures: NDArray[np.float64], got: NDArray[np.float64], expected: NDArray[np.float64]) -> str:
    """The greatest figure and where it is; infinitely many times nothing is the greatest share."""
    at = tuple(int(index) for index in np.unravel_index(np.argmax(figures), figures.shape))
    return f"{figures[at]:.4g} at {list(at)} ({got[at]:.7g} instead of {expected[at]:.7g})"


def _count(wrong: NDArray[np.bool_]) -> str:
    return f"{np.count_nonzero(wrong)} of {wrong.size} elements"


def _shown(value: object) -> str:
    return f"{value!r:.60}" if isinstance(value, bytes) else str(value)
