"""Asks models from Python: `Client` blocks, `AsyncClient` awaits, and both have the same methods.

    with penstock.Client("127.0.0.1:8001") as client:
        digits = client.predict("digits", {"image": images})["digit"]

Needs numpy; torch is used only where the caller passes torch tensors. Every call that fails raises a class of
`penstock.errors`, with the grpc error as its cause.
"""

from .aio import AsyncClient
from .connection import Priority
from .prediction import Prediction, Timings
from .request import Inputs, Value
from .retry import retry_delay
from .status import InstanceStatus, Metadata, ModelStatus, StatusChange, VersionStatus
from .sync import Client
from .traffic import ArmStatus, CanaryStatus, ComparisonStatus, TrafficStatus

__all__ = [
    "ArmStatus",
    "AsyncClient",
    "CanaryStatus",
    "Client",
    "ComparisonStatus",
    "Inputs",
    "InstanceStatus",
    "Metadata",
    "ModelStatus",
    "Prediction",
    "Priority",
    "StatusChange",
    "Timings",
    "TrafficStatus",
    "Value",
    "VersionStatus",
    "retry_delay",
]
