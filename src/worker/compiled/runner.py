"""Run a compiled model.

torch's own loader holds Python's interpreter while the model computes: on a CPU the event loop would stand still for as
long, and nothing that arrives would be read. So on CPUs the model's C interface is called here, by ctypes, which lets
the interpreter go. It is the interface that torch keeps stable for compiled models (aoti_runtime/interface.h). What
needs more than it, and GPUs, where a call only launches, go by torch's loader.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .package import library, needs_torch

Run = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]
"""All inputs in their order → all outputs in theirs."""

_CHECK = "AOTI_RUNTIME_CHECK_INPUTS"
"""Has compiled models look at shapes and element types, which they else believe: wrong ones would read other memory.
They then refuse a batch of one row, too, although they can compute it."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled model in memory."""

    run: Run
    """Called by one thread at a time; inputs are contiguous and on the device."""
    structure: str
    """How the outputs stood in the answer of the module that it was made from; torch's pytree reads it."""


def load_compiled(folder: Path, device: str, *, checks: bool) -> Compiled:
    """Load an unpacked package.

    Args:
        folder: with the package; what `fitting.misfit` says of it is empty.
        device: `cpu` or `cuda:0`.
        checks: it looks at its inputs. False: their shapes and types were checked against what it was compiled from.

    Raises:
        ValueError, OSError, RuntimeError: it cannot be loaded.
    """
    os.environ[_CHECK] = "1" if checks else "0"
    where = torch.device(device)
    if where.type == "cpu" and not needs_torch(folder):
        direct = _Direct(library(folder))
        return Compiled(direct, direct.structure())
    loader = torch._C._aoti.AOTIModelPackageLoader(str(folder), "model", False, 1, where.index or 0)
    return Compiled(lambda inputs: loader.boxed_run(list(inputs)), loader.get_call_spec()[1])


class _Direct:
    """A compiled model for CPUs, called without the interpreter."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._run = self._function("Run", *[_POINTER, _POINTER, _SIZE, _POINTER, _SIZE, _POINTER, _POINTER])
        self._model = ctypes.c_void_p()
        create = self._function("CreateWithDevice", _POINTER, _SIZE, ctypes.c_char_p, ctypes.c_char_p)
        if create(ctypes.byref(self._model), 1, b"cpu", None):
            raise RuntimeError("the compiled model cannot be set up")
        # Its weights are in memory of its own.
        end = weakref.finalize(self, self._function("Delete", _POINTER), self._model)
        end.atexit = False
        self._inputs, self._outputs = self._count("GetNumInputs"), self._count("GetNumOutputs")

    def __call__(self, inputs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        if len(inputs) != self._inputs:
            raise ValueError(f"the compiled model takes {self._inputs} inputs, got {len(inputs)}")
        handles = [_address(capsule, None) for capsule in _aoti.unsafe_alloc_void_ptrs_from_tensors(list(inputs))]
        given, made = (_POINTER * len(handles))(*handles), (_POINTER * self._outputs)()
        # What is given is the model's from here on, also if it fails.
        if self._run(self._model, given, len(given), made, len(made), None, None):
            raise RuntimeError("the compiled model failed; the lines before this one say why")
        outputs: list[torch.Tensor] = _aoti.alloc_tensors_by_stealing_from_void_ptrs(
            [_capsule(address, None, None) for address in made]
        )
        return outputs

    def structure(self) -> str:
        """See `Compiled`."""
        taken, given = ctypes.c_char_p(), ctypes.c_char_p()
        ask = self._function("GetCallSpec", _POINTER, _POINTER, _POINTER)
        if ask(self._model, ctypes.byref(taken), ctypes.byref(given)) or given.value is None:
            raise RuntimeError("the compiled model does not say how its outputs are arranged")
        return given.value.decode()

    def _function(self, name: str, *arguments: Any) -> Any:
        function = self._library[f"AOTInductorModelContainer{name}"]
        function.argtypes, function.restype = arguments, ctypes.c_int32
        return function

    def _count(self, name: str) -> int:
        count = _SIZE()
        if self._function(name, _POINTER, _POINTER)(self._model, ctypes.byref(count)):
            raise RuntimeError("the compiled model does not say what it takes and gives")
        return count.value


_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_aoti: Any = torch._C._aoti
_address = ctypes.PYFUNCTYPE(_POINTER, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, _POINTER, ctypes.c_char_p, _POINTER)(("PyCapsule_New", ctypes.pythonapi))
