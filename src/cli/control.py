"""The control service as commands call it: through a gateway, with typed errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from ..errors import PenstockError
from ..rpc.channel import client_options
from ..rpc.errors import from_rpc_error
from .options import settings

TIMEOUT = 30.0
"""Seconds for one control call."""


class Control:
    """A stub, and the metadata to send with each call."""

    def __init__(self, channel: grpc.Channel, api_key: str) -> None:
        self.stub = RegistryServiceStub(channel)
        self.metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()


@contextmanager
def control(address: str | None, api_key: str | None, flag: str = "--address") -> Iterator[Control]:
    """A connection for a command, to what the flag names. Calls made in the block raise PenstockError."""
    chosen = settings(address=address, api_key=api_key)
    with grpc.insecure_channel(chosen.address, client_options()) as channel:
        try:
            yield Control(channel, chosen.api_key)
        except grpc.RpcError as error:
            raise _explained(from_rpc_error(error), chosen.address, flag) from error


def model_record(registry: Control, name: str) -> pb.ModelRecord:
    """A model as the registry knows it now: gateways hear of changes a moment later."""
    request = pb.GetModelRequest(name=name)
    return registry.stub.GetModel(request, timeout=TIMEOUT, metadata=registry.metadata).model


def version_record(model: pb.ModelRecord, version: int) -> pb.VersionRecord:
    """A version of it; an empty record if there is none."""
    return next((v for v in model.versions if v.manifest.version == version), pb.VersionRecord())


def _explained(error: PenstockError, address: str, flag: str) -> PenstockError:
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason:
        what = "registry" if flag == "--registry" else "gateway"
        error.message = f"no {what} answers at {address}; start one with `penstock up`, or name another with {flag}"
    return error
