from __future__ import annotations

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from penstock import errors
from penstock.gateway.directory import Directory
from penstock.gateway.rules import RULES, authentication
from penstock.rpc.access import Access, digest
from penstock.rpc.call import new_call
from penstock.rpc.service import paths
from penstock.v1 import model_status_pb2, predict_pb2
from penstock.v1 import registry_pb2 as pb

PREDICT = predict_pb2.DESCRIPTOR.services_by_name["PredictService"]
STATUS = model_status_pb2.DESCRIPTOR.services_by_name["ModelStatusService"]
REGISTRY = pb.DESCRIPTOR.services_by_name["RegistryService"]
SERVED = [
    PREDICT,
    STATUS,
    REGISTRY,
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
]
ADMIN_KEY = f"psk_{'a' * 16}_{'0' * 64}"
PREDICT_KEY = f"psk_{'b' * 16}_{'0' * 64}"


def directory() -> Directory:
    made = Directory()
    keys = [
        pb.KeyRecord(key_id="a" * 16, name="ann", scopes=["admin"], sha256=digest(ADMIN_KEY)),
        pb.KeyRecord(key_id="b" * 16, name="bob", scopes=["predict:*"], sha256=digest(PREDICT_KEY)),
    ]
    made.apply(pb.WatchResponse(snapshot=True, keys=keys))
    return made


def let_in(method: str, key: str = "") -> str:
    call = new_call(method, [("authorization", f"Bearer {key}")] if key else [])
    authentication(directory())(call)
    return call.principal.name


@pytest.mark.parametrize("service", SERVED, ids=lambda service: service.full_name)
def test_every_method_that_is_served_has_a_rule(service: ServiceDescriptor) -> None:
    assert set(paths(service)) <= RULES.keys()


def test_both_reflections_and_list_have_a_rule() -> None:
    assert RULES["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] is Access.AUTHENTICATED
    assert RULES["/grpc.health.v1.Health/List"] is Access.AUTHENTICATED


@pytest.mark.parametrize("path", paths(REGISTRY))
def test_control_is_for_admins(path: str) -> None:
    assert let_in(path, ADMIN_KEY) == "ann"
    with pytest.raises(errors.ScopeInsufficient) as refused:
        let_in(path, PREDICT_KEY)
    assert refused.value.metadata["requiredScope"] == "admin"


@pytest.mark.parametrize("path", [*paths(PREDICT), *paths(STATUS)])
def test_models_are_for_those_with_a_key(path: str) -> None:
    assert let_in(path, PREDICT_KEY) == "bob"
    with pytest.raises(errors.AuthMissing):
        let_in(path)


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_probes_need_no_key(method: str) -> None:
    assert let_in(f"/grpc.health.v1.Health/{method}") == ""


def test_who_has_shown_nothing_has_no_scopes() -> None:
    call = new_call("/grpc.health.v1.Health/Check", [])
    authentication(directory())(call)
    assert call.principal.scopes == frozenset()


def test_an_unknown_method_is_for_admins() -> None:
    with pytest.raises(errors.ScopeInsufficient):
        let_in("/penstock.v1.PredictService/Preditc", PREDICT_KEY)
    assert let_in("/penstock.v1.PredictService/Preditc", ADMIN_KEY) == "ann"


def test_before_the_registry_was_reached_nobody_can_be_known() -> None:
    with pytest.raises(errors.RegistryUnavailable):
        authentication(Directory())(new_call(paths(PREDICT)[0], []))
