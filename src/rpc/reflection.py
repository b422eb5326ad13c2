"""Server reflection, v1 and v1alpha: the library's servicer over descriptors that are complete.

The library registers only v1alpha; the messages of both are the same on the wire (grpc/grpc#38576). Descriptors are put
into a pool of our own, since two of them must be made here: reflection v1, and Health's `List`, which the oldest
supported grpcio-health-checking lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

_ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"


def reflection_handlers(services: Sequence[str]) -> list[grpc.GenericRpcHandler]:
    """Handlers of both versions, which describe these services and themselves.

    Args:
        services: full names; their files must be in protobuf's default pool.
    """
    reflections = [f"{package}.ServerReflection" for package in (_V1, _ALPHA)]
    servicer = ReflectionServicer([*services, *reflections], pool=_pool(services))
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in reflections]


def _pool(services: Sequence[str]) -> descriptor_pool.DescriptorPool:
    """The files of the services with all that they import, and of reflection itself."""
    pool = descriptor_pool.DescriptorPool()
    default = descriptor_pool.Default()
    added: set[str] = set()

    def add(name: str) -> None:
        if name in added:
            return
        added.add(name)
        file = descriptor_pb2.FileDescriptorProto()
        default.FindFileByName(name).CopyToProto(file)
        for dependency in file.dependency:
            add(dependency)
        pool.Add(_with_list(file) if name == health_pb2.DESCRIPTOR.name else file)

    for service in services:
        add(default.FindFileContainingSymbol(service).name)
    add(reflection_pb2.DESCRIPTOR.name)
    pool.Add(_reflection_v1())
    return pool


def _reflection_v1() -> descriptor_pb2.FileDescriptorProto:
    """The file of v1: v1alpha under another package."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", _V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{_ALPHA}.", f".{_V1}.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(f".{_ALPHA}.", f".{_V1}.")
        method.output_type = method.output_type.replace(f".{_ALPHA}.", f".{_V1}.")
    return file


def _with_list(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """grpc.health.v1 as published since 2025: with `rpc List(HealthListRequest) returns (HealthListResponse)`."""
    service = file.service[0]
    if any(method.name == "List" for method in service.method):
        return file
    types = descriptor_pb2.FieldDescriptorProto
    file.message_type.add(name="HealthListRequest")
    response = file.message_type.add(name="HealthListResponse")
    entry = response.nested_type.add(name="StatusesEntry")
    entry.options.map_entry = True
    check = ".grpc.health.v1.HealthCheckResponse"
    one = types.LABEL_OPTIONAL
    entry.field.add(name="key", number=1, type=types.TYPE_STRING, label=one, json_name="key")
    entry.field.add(name="value", number=2, type=types.TYPE_MESSAGE, type_name=check, label=one, json_name="value")
    response.field.add(
        name="statuses",
        number=1,
        type=types.TYPE_MESSAGE,
        type_name=".grpc.health.v1.HealthListResponse.StatusesEntry",
        label=types.LABEL_REPEATED,
        json_name="statuses",
    )
    package = ".grpc.health.v1"
    service.method.add(
        name="List", input_type=f"{package}.HealthListRequest", output_type=f"{package}.HealthListResponse"
    )
    return file
