"""Penstock: a gRPC-native serving framework for PyTorch models.

`Client` and `AsyncClient` ask models; `Servable`, `TensorSpec` and `Dim` describe one's own. Names are loaded when they
are first used, so that importing the package costs nothing and never brings in torch or numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import errors
    from .client import AsyncClient, Client, Prediction
    from .servable import Padding, Servable
    from .signature import Dim, TensorSpec

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "Dim", "Padding", "Prediction", "Servable", "TensorSpec", "errors"]

_HOMES = {
    "AsyncClient": "client",
    "Client": "client",
    "Dim": "signature",
    "Padding": "servable",
    "Prediction": "client",
    "Servable": "servable",
    "TensorSpec": "signature",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module(".errors", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
