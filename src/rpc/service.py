"""A servicer's methods as handlers for a server: they see messages (or bytes) and a Call, never a grpc context."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from .call import current_call


def raw(method: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method that takes and gives the messages' bytes, unparsed."""
    method.raw = True  # type: ignore[attr-defined]
    return method


def handlers(descriptor: ServiceDescriptor, servicer: object) -> grpc.GenericRpcHandler:
    """Serve every method of the service by the servicer's method of that name in snake case.

    By the kind of the RPC these are: `async f(request, call) -> response`, `f(request, call) -> async iterator`,
    `async f(requests, call) -> response`, `f(requests, call) -> async iterator`.

    Raises:
        AttributeError: a method is missing.
    """
    table = {m.name: _handler(m, getattr(servicer, snake(m.name))) for m in descriptor.methods}
    return grpc.method_handlers_generic_handler(descriptor.full_name, table)


def paths(descriptor: Any) -> list[str]:
    """The full names of the service's methods, as they stand in a request's path."""
    return [f"/{descriptor.full_name}/{method.name}" for method in descriptor.methods]


def snake(name: str) -> str:
    """What the servicer's method for an RPC of that name is called."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _handler(method: MethodDescriptor, function: Callable[..., Any]) -> Any:
    parse: Any = None
    serialize: Any = None
    if not getattr(function, "raw", False):
        parse = GetMessageClass(method.input_type).FromString
        serialize = GetMessageClass(method.output_type).SerializeToString

    def answer(request: Any, _context: object) -> Awaitable[Any]:
        return function(request, current_call.get())  # type: ignore[no-any-return]

    def stream(request: Any, _context: object) -> AsyncIterator[Any]:
        return function(request, current_call.get())  # type: ignore[no-any-return]

    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    behaviour = stream if method.server_streaming else answer
    return kinds[method.client_streaming, method.server_streaming](behaviour, parse, serialize)
