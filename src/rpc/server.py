"""Build a grpc.aio server: interceptor, services, health, reflection, port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from .channel import MAX_MESSAGE_BYTES, server_options
from .interceptor import CallInterceptor
from .ports import PortTaken, holders
from .reflection import reflection_handlers
from .service import handlers


def build(
    interceptor: CallInterceptor,
    services: Iterable[tuple[ServiceDescriptor, object]],
    *,
    reflect: bool = False,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    share_port: bool = False,
    extra: Mapping[str, grpc.GenericRpcHandler] | None = None,
) -> grpc.aio.Server:
    """A server that is not bound and not started. The caller stops it.

    Args:
        interceptor: around every call.
        services: descriptor and servicer (see `service.handlers`).
        reflect: also serve reflection (v1 and v1alpha) of these services.
        max_message_bytes: the greatest request.
        share_port: several processes serve one port on purpose.
        extra: handlers that are not made from a servicer, such as forwarders, each under its service's name.
    """
    services = list(services)
    server = grpc.aio.server(
        interceptors=[interceptor], options=server_options(max_message_bytes, share_port=share_port)
    )
    server.add_generic_rpc_handlers([handlers(descriptor, servicer) for descriptor, servicer in services])
    server.add_generic_rpc_handlers(list((extra or {}).values()))
    if reflect:
        names = [descriptor.full_name for descriptor, _ in services] + list(extra or {})
        server.add_generic_rpc_handlers(reflection_handlers(names))
    return server


def bind(server: grpc.aio.Server, address: str, setting: str) -> int:
    """Bind to `host:port` or `unix:PATH` and return the port (0 for a unix socket).

    Raises:
        PortTaken: another process has it; the message names it and the setting to change.
    """
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0 and not address.startswith("unix:"):
        wanted = int(address.rpartition(":")[2])
        holder = next(holders(wanted), "a process of another user")
        raise PortTaken(f"cannot listen on {address}: the port is taken by {holder}; choose another with {setting}")
    return port
