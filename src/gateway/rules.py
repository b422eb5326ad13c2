"""What each method of the gateway asks of its caller. A method that is not here is for admins only."""

from __future__ import annotations

from grpc_health.v1 import health_pb2

from penstock.v1 import model_status_pb2, predict_pb2, registry_pb2

from ..errors import RegistryUnavailable
from ..rpc.access import NOBODY, Access, authenticate, check
from ..rpc.call import Call, Gate
from ..rpc.health import HEALTH
from ..rpc.service import paths
from .directory import Directory

_SERVICES = (
    # Probes send no credentials (Kubernetes); they learn SERVING or NOT_SERVING and nothing else.
    (health_pb2.DESCRIPTOR.services_by_name["Health"], Access.PUBLIC),
    # These ask for the right to the model that the request names.
    (predict_pb2.DESCRIPTOR.services_by_name["PredictService"], Access.AUTHENTICATED),
    (model_status_pb2.DESCRIPTOR.services_by_name["ModelStatusService"], Access.AUTHENTICATED),
    (registry_pb2.DESCRIPTOR.services_by_name["RegistryService"], Access.ADMIN),
)
RULES: dict[str, Access] = (
    {path: access for service, access in _SERVICES for path in paths(service)}
    | {
        f"/{HEALTH}/List": Access.AUTHENTICATED,  # it names models: those that the caller may see
    }
    | {
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": Access.AUTHENTICATED
        for version in ("v1", "v1alpha")
    }
)


def authentication(directory: Directory) -> Gate:
    """The gate that finds out who calls by API key, and refuses who may not call the method at all."""

    def gate(call: Call) -> None:
        access = RULES.get(call.method)
        call.principal = NOBODY
        if access is Access.PUBLIC:
            return
        if not directory.known:
            raise RegistryUnavailable("this gateway has not reached the registry yet, and knows no keys; try again")
        call.principal = authenticate(call.text("authorization"), directory.keys)
        check(access, call.principal, call.method)

    return gate
