"""Every operator's call leaves one line, together with what it changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock import errors
from penstock.registry import placement, rules
from penstock.registry.artifacts import Artifacts
from penstock.registry.audit import PRINCIPAL_KEY, is_audited, line
from penstock.registry.audited_servicer import AuditedServicer
from penstock.registry.differences import MAX_TEXT, differences
from penstock.registry.servicer import SERVICE, RegistryServicer
from penstock.registry.state import Audit, Model, Settings
from penstock.rpc.channel import connect
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.v1 import registry_pb2 as pb
from penstock.v1 import registry_pb2_grpc

from .conftest import World, draft, stored
from .test_rules import model, move
from .test_serving_policy import ALL, policy
from .wire import Stub, ask, publish, register

METADATA = ((PRINCIPAL_KEY, "ann"), ("x-request-id", "call-1"))


@pytest.fixture
async def stub(world: World, artifacts: Artifacts) -> AsyncIterator[Stub]:
    servicer = AuditedServicer(RegistryServicer(world.registry, artifacts), world.registry)
    server = build(CallInterceptor(), [(SERVICE, servicer)])
    port = bind(server, "127.0.0.1:0", "--registry-port")
    await server.start()
    async with connect(f"127.0.0.1:{port}") as channel:
        yield registry_pb2_grpc.RegistryServiceStub(channel)
    await server.stop(0)


async def lines(stub: Stub, **request: Any) -> list[tuple[str, str, str, str]]:
    """Action, subject, change and outcome, the oldest first."""
    answer = await ask(stub.ListAudit(pb.ListAuditRequest(**request)))
    return [(e.action, e.subject, e.change, e.outcome) for e in reversed(answer.entries)]


DEPLOYED = placement.deploy(model(1, 2), 2, 3, "cpu")


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (None, model(1), "stable: nothing -> 1; version 1 is new"),
        (model(1), model(1, 2), "version 2 is new"),
        (model(1, 2), move(model(1, 2), "stable", 2), "stable: 1 -> 2"),
        (model(1, 2), move(model(1, 2), "canary", 2), "canary: nothing -> 2"),
        (
            model(1, 2),
            DEPLOYED,
            "version 2 placement: AUTO -> PINNED; version 2 instances: 0 -> 3; version 2 device: not set -> cpu",
        ),
        (model(1), policy(model(1), versions=ALL), "serving.versions.all: False -> True"),
        (model(1), policy(model(1), keep_warm_s=7.0), "serving.keep_warm_s: not set -> 7.0"),
        (model(1), model(1), ""),
        (model(1), replace(model(1), settings=Settings()), ""),
    ],
)
def test_what_is_different_in_words(before: Model | None, after: Model, text: str) -> None:
    assert differences(before, after) == text


def test_a_text_has_a_bound() -> None:
    assert len(differences(None, model(*range(1, 500)))) == MAX_TEXT


def test_what_operators_call_is_noted_and_what_processes_call_or_only_reads_is_not() -> None:
    methods = {method.name for method in SERVICE.methods}
    assert {name for name in methods if is_audited(name)} == {
        "Publish",
        "Deploy",
        "Undeploy",
        "SetAlias",
        "DeleteAlias",
        "RollbackAlias",
        "DrainWorker",
        "CreateKey",
        "RevokeKey",
        "SetPolicy",
        "ConfirmRemovals",
        "DeleteVersion",
        "CollectGarbage",
        "RestoreModel",
        "SetShadow",
        "SetSplit",
        "StartCanary",
        "StopCanary",
    }


def test_outside_of_a_call_there_is_no_line() -> None:
    assert line("digits", "something") is None


async def test_changes_refusals_and_calls_that_change_nothing_each_leave_a_line(stub: Stub) -> None:
    for number in (1, 2):
        await publish(stub, b"%d" % number)
        await register(stub, f"w{number}", number)
    request = pb.SetAliasRequest(name="digits", alias="stable", version=2)
    for _ in range(2):
        await ask(stub.SetAlias(request))
    request.expected_version = 1
    with pytest.raises(errors.Conflict):
        await ask(stub.SetAlias(request))
    await ask(stub.RollbackAlias(pb.RollbackAliasRequest(name="digits")))
    await ask(stub.DrainWorker(pb.DrainWorkerRequest(worker_id="w2")))
    with pytest.raises(errors.NotFound):
        await ask(stub.DrainWorker(pb.DrainWorkerRequest(worker_id="w3")))
    key = (await ask(stub.CreateKey(pb.CreateKeyRequest(name="ci", scopes=["admin"])))).record.key_id
    await ask(stub.RevokeKey(pb.RevokeKeyRequest(key_id=key)))
    conflict = "the alias 'stable' of 'digits' means version 2, not version 1; read again and decide again"
    nobody = "there is no worker 'w3' with a lease; `penstock status` lists those there are"
    assert await lines(stub) == [
        ("Publish", "digits", "stable: nothing -> 1; version 1 is new", "DONE"),
        ("Publish", "digits", "version 2 is new", "DONE"),
        ("SetAlias", "digits", "stable: 1 -> 2", "DONE"),
        ("SetAlias", "digits", "", "UNCHANGED"),
        ("SetAlias", "digits", conflict, "CONFLICT"),
        ("RollbackAlias", "digits", "stable: 2 -> 1", "DONE"),
        ("DrainWorker", "digits", "worker w2 drains", "DONE"),
        ("DrainWorker", "w3", nobody, "NOT_FOUND"),
        ("CreateKey", "ci", f"key {key} is new, with the scopes admin", "DONE"),
        ("RevokeKey", "ci", f"key {key} is revoked", "DONE"),
    ]
    assert [action for action, *_ in await lines(stub, subject="ci")] == ["CreateKey", "RevokeKey"]


async def test_a_line_names_who_when_and_the_call(stub: Stub) -> None:
    await publish(stub)
    await ask(stub.Undeploy(pb.UndeployRequest(name="digits"), metadata=METADATA))
    [entry, first] = (await ask(stub.ListAudit(pb.ListAuditRequest()))).entries
    assert (entry.principal, entry.request_id, entry.id) == ("ann", "call-1", first.id + 1)
    request = pb.ListAuditRequest(since=entry.time)
    request.since.seconds += 1
    assert not (await ask(stub.ListAudit(request))).entries
    request.since.seconds -= 2
    assert (await ask(stub.ListAudit(request))).entries


async def test_lines_come_in_pages(stub: Stub) -> None:
    for number in range(5):
        await publish(stub, b"%d" % number)
    first = (await ask(stub.ListAudit(pb.ListAuditRequest(page_size=2)))).entries
    second = (await ask(stub.ListAudit(pb.ListAuditRequest(page_size=2, before_id=first[-1].id)))).entries
    assert [e.change for e in (*first, *second)] == [f"version {n} is new" for n in (5, 4, 3, 2)]
    with pytest.raises(errors.InvalidArgument):
        await ask(stub.ListAudit(pb.ListAuditRequest(page_size=-1)))


def audit(number: int = 1, time: float = 1.0) -> Audit:
    return Audit(time, "ann", "SetAlias", "digits", f"change {number}", "DONE", "call-1")


async def test_a_change_and_its_line_are_stored_both_or_neither(tmp_path: Path) -> None:
    before = rules.publish(None, draft(labels={"big": "x" * 4000}), 1.0, "ann").model
    after = before
    for _ in range(50):
        after = rules.publish(after, draft(labels={"big": "x" * 4000}), 1.0, "ann").model
    async with stored(tmp_path / "db") as store:
        await store.save_model(None, before, (), audit(1))
        pages = store._tables._db.execute("PRAGMA page_count").fetchone()[0]
        store._tables._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(errors.StorageFull):
            await store.save_model(before, after, (), audit(2))
        assert [a.change for a in await store.list_audit("", 0.0, 0, 10)] == ["change 1"]


async def test_the_log_is_bounded_in_number_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.registry.stores.audits.MAX_AUDITS", 3)
    monkeypatch.setattr("penstock.registry.stores.audits.AUDIT_SECONDS", 100.0)
    async with stored(tmp_path / "db") as store:
        for number in range(5):
            await store.save_audit(audit(number))
        assert [a.change for a in await store.list_audit("", 0.0, 0, 10)] == ["change 4", "change 3", "change 2"]
        await store.save_audit(audit(5, time=102.0))
        assert [a.change for a in await store.list_audit("", 0.0, 0, 10)] == ["change 5"]


async def test_a_call_that_the_store_cannot_note_ends_as_it_would_have(
    stub: Stub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_audit: Audit) -> None:
        raise errors.StorageFull("the disk is full")

    monkeypatch.setattr(world.store, "save_audit", full)
    with pytest.raises(errors.ModelNotFound):
        await ask(stub.Undeploy(pb.UndeployRequest(name="nothere")))
