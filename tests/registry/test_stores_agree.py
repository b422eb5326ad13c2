"""One state machine for all stores: whatever is done, and however often the process ends, each is like one model."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock import errors
from penstock.registry.placement import KEEP_WARM_S
from penstock.registry.registry import Registry, opened
from penstock.registry.state import Audit, LoadReport, Model, Placement, ServingPolicy, Settings, State
from penstock.registry.store import Store
from penstock.testing.etcd import WHERE, etcd, has_etcd

from .backends import Backend, EtcdBackend, SqliteBackend
from .conftest import Clock, draft, worker
from .test_store import SIGNATURE

T = TypeVar("T")
NAMES = st.sampled_from(["a", "digits", "x.y-z"])
ALIASES = st.sampled_from(["stable", "canary", "old"])
NUMBERS = st.integers(1, 4)
CONTENTS = st.sampled_from([b"one", b"two"])
PEOPLE = st.sampled_from(["ann", "'; DROP TABLE versions; --", "Zoë/ \x7f"])
WORKERS = st.sampled_from(["w1", "w2", "w3"])
SECONDS = st.floats(0.0, 400.0)
TTL_S = 10.0
SETTINGS = st.builds(
    Settings,
    serving=st.builds(
        ServingPolicy,
        instances=st.integers(0, 3),
        device=st.sampled_from(["", "cpu"]),
        keep_warm_s=st.sampled_from([None, KEEP_WARM_S]),
        resource_preserving=st.booleans(),
    ),
)


@dataclass
class Published:
    """A version, as the model knows it."""

    content: bytes
    placement: Placement = Placement.AUTO
    instances: int = 0
    has_signature: bool = False


@dataclass
class Known:
    """A model, as the model of it all knows it."""

    versions: dict[int, Published] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    changes: list[tuple[str, int, int, float, str]] = field(default_factory=list)
    settings: Settings = Settings()

    def move(self, alias: str, number: int, now: float, who: str) -> None:
        self.changes.append((alias, number, self.aliases.get(alias, 0), now, who))
        self.aliases.pop(alias, None)
        if number:
            self.aliases[alias] = number


@dataclass
class Leased:
    """A worker with a lease."""

    name: str
    version: int
    epoch: int
    expires: float
    draining: bool = False


class Machine(RuleBasedStateMachine):
    """What a registry does, beside a few dictionaries."""

    make: Callable[[], Backend]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.backend = type(self).make()
        self.wall, self.monotonic = Clock(1_700_000_000.1234567), Clock(0.0)
        self.models: dict[str, Known] = {}
        self.leased: dict[str, Leased] = {}
        self.keys: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.epochs: list[int] = []
        self.log: list[tuple[float, str, str]] = []
        self.revisions: list[int] = []
        self.ids: set[str] = set()
        self.store: Store
        self.registry: Registry
        self.open()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def open(self) -> None:
        async def start() -> Registry:
            self.store = await self.backend.open()
            return await opened(self.store, lease_ttl_s=TTL_S, wall=self.wall, monotonic=self.monotonic)

        self.registry = self.run(start())
        self.revisions.append(self.registry.hub.revision)
        self.ids.add(self.registry.hub.registry_id)
        for one in self.leased.values():  # each has a whole TTL to show up
            one.expires = self.monotonic() + TTL_S

    def teardown(self) -> None:
        self.run(self.backend.close())
        self.runner.close()

    def outcome(self, work: Coroutine[Any, Any, Any]) -> str:
        """What it came to: `ok`, or the name of the error."""
        try:
            self.run(work)
        except errors.PenstockError as error:
            return type(error).__name__
        return "ok"

    def available(self, name: str) -> set[int]:
        wanted = self.wanted(name)
        serving = {w.version for w in self.leased.values() if w.name == name and not w.draining}
        return serving & wanted

    def wanted(self, name: str) -> set[int]:
        known = self.models[name]
        now = self.wall()
        warm = {before for _, _, before, time, _ in known.changes if before and time + KEEP_WARM_S > now}
        by_rule = {*known.aliases.values(), *warm, list(known.versions)[-1]}
        placed = {Placement.PINNED: True, Placement.UNDEPLOYED: False}
        return {n for n, v in known.versions.items() if placed.get(v.placement, n in by_rule)}

    # What is published

    @initialize(who=PEOPLE)
    def publish_something(self, who: str) -> None:
        for number, content in enumerate((b"one", b"two"), start=1):
            self.publish("digits", 0, content, set(), who)
            self.register(f"w{number}", "digits", number)

    @rule(name=NAMES, number=st.integers(0, 4), content=CONTENTS, aliases=st.sets(ALIASES), who=PEOPLE)
    def publish(self, name: str, number: int, content: bytes, aliases: set[str], who: str) -> None:
        asked = draft(name, number, content, aliases=tuple(sorted(aliases)))
        known = self.models.get(name, Known())
        if number in known.versions:
            same = known.versions[number].content == content
            try:
                assert self.registry.published(asked) is not None
                assert same
            except errors.VersionExists:
                assert not same
            return
        assert self.registry.published(asked) is None
        version = self.run(self.registry.publish(asked, who))
        number = number or max(known.versions, default=0) + 1
        assert version.number == number
        first = () if known.versions else ("stable",)
        known.versions[number] = Published(content)
        for alias in dict.fromkeys((*first, *sorted(aliases))):
            known.move(alias, number, self.wall(), who)
        self.models[name] = known

    @rule(name=NAMES, alias=ALIASES, number=NUMBERS, expected=st.none() | st.integers(0, 4), who=PEOPLE)
    def set_any_alias(self, name: str, alias: str, number: int, expected: int | None, who: str) -> None:
        self.set_alias(name, alias, number, expected, who)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), alias=ALIASES, who=PEOPLE, expects=st.booleans())
    def set_alias_to_what_a_worker_has(self, data: st.DataObject, alias: str, who: str, expects: bool) -> None:
        one = data.draw(st.sampled_from(list(self.leased.values())))
        expected = self.models[one.name].aliases.get(alias, 0) if expects else None
        self.set_alias(one.name, alias, one.version, expected, who)

    def set_alias(self, name: str, alias: str, number: int, expected: int | None, who: str) -> None:
        known = self.models.get(name)
        got = self.outcome(self.registry.set_alias(name, alias, number, expected, who))
        if known is None:
            assert got == "ModelNotFound"
        elif expected is not None and expected != known.aliases.get(alias, 0):
            assert got == "Conflict"
        elif number not in known.versions:
            assert got == "VersionNotFound"
        elif known.aliases.get(alias) == number:
            assert got == "ok"
        elif number not in self.available(name):
            assert got == "VersionNotAvailable"
        else:
            assert got == "ok"
            known.move(alias, number, self.wall(), who)
            if known.versions[number].placement is Placement.PINNED:
                known.versions[number].placement = Placement.AUTO

    @precondition(lambda self: self.models)
    @rule(data=st.data(), alias=ALIASES, who=PEOPLE, moved=st.booleans())
    def roll_back(self, data: st.DataObject, alias: str, who: str, moved: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.models)))
        known = self.models[name]
        alias = known.changes[-1][0] if moved else alias
        target = next((before for changed, _, before, *_ in reversed(known.changes) if changed == alias), None)
        got = self.outcome(self.registry.rollback_alias(name, alias, who))
        if target is None:
            assert got == "AliasNotFound"
        elif target == 0:
            assert got == "FailedPrecondition"
        elif known.aliases.get(alias) != target and target not in self.available(name):
            assert got == "VersionNotAvailable"
        else:
            assert got == "ok"
            known.move(alias, target, self.wall(), who)
            if known.versions[target].placement is Placement.PINNED:
                known.versions[target].placement = Placement.AUTO

    @rule(name=NAMES, alias=ALIASES, who=PEOPLE)
    def delete_alias(self, name: str, alias: str, who: str) -> None:
        known = self.models.get(name)
        got = self.outcome(self.registry.delete_alias(name, alias, who))
        if known is None:
            assert got == "ModelNotFound"
        elif alias == "stable":
            assert got == "FailedPrecondition"
        elif alias not in known.aliases:
            assert got == "AliasNotFound"
        else:
            assert got == "ok"
            known.move(alias, 0, self.wall(), who)

    @precondition(lambda self: self.models)
    @rule(data=st.data(), number=st.integers(0, 4), instances=st.integers(0, 3), deploys=st.booleans())
    def place(self, data: st.DataObject, number: int, instances: int, deploys: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.models)))
        known = self.models[name]
        chosen = [number] if number else list(known.versions)
        if deploys:
            got = self.outcome(self.registry.deploy(name, number, instances, ""))
        else:
            got = self.outcome(self.registry.undeploy(name, number))
        if number and number not in known.versions:
            assert got == "VersionNotFound"
        elif number and not deploys and number in known.aliases.values():
            assert got == "FailedPrecondition"
        else:
            assert got == "ok"
            placement = Placement.UNDEPLOYED if not deploys else Placement.PINNED if number else Placement.AUTO
            for one in chosen:
                version = known.versions[one]
                version.placement = placement
                version.instances = (instances if deploys else 0) or version.instances
                if deploys and instances and not number:
                    version.instances = 0  # what the policy says is not to be overruled
            if deploys and instances and not number:
                serving = replace(known.settings.serving, instances=instances)
                known.settings = replace(known.settings, serving=serving)

    @precondition(lambda self: self.models)
    @rule(data=st.data(), chosen=SETTINGS)
    def change_settings(self, data: st.DataObject, chosen: Settings) -> None:
        """In the store itself, which the next process reads."""
        name = data.draw(st.sampled_from(sorted(self.models)))
        before = self.stored(name)
        self.run(self.store.save_model(before, replace(before, settings=chosen), ()))
        self.models[name].settings = chosen
        self.reopen()

    def stored(self, name: str) -> Model:
        return next(model for model in self.run(self.store.load()).models if model.name == name)

    # Workers

    @rule(worker_id=WORKERS, name=NAMES, number=NUMBERS)
    def register_any(self, worker_id: str, name: str, number: int) -> None:
        self.register(worker_id, name, number)

    @precondition(lambda self: self.models)
    @rule(worker_id=WORKERS, data=st.data())
    def register_what_is_published(self, worker_id: str, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.models)))
        self.register(worker_id, name, data.draw(st.sampled_from(list(self.models[name].versions))))

    def register(self, worker_id: str, name: str, number: int) -> None:
        known = self.models.get(name)
        registering = self.registry.register_worker(worker(worker_id, name, number), SIGNATURE)
        if known is None or number not in known.versions:
            assert self.outcome(registering) == ("VersionNotFound" if known else "ModelNotFound")
            return
        registered = self.run(registering)
        assert all(registered.epoch > epoch for epoch in self.epochs)
        self.epochs.append(registered.epoch)
        known.versions[number].has_signature = True
        self.leased[worker_id] = Leased(name, number, registered.epoch, self.monotonic() + TTL_S)

    @precondition(lambda self: self.epochs)
    @rule(worker_id=WORKERS, data=st.data(), draining=st.booleans())
    def renew_any(self, worker_id: str, data: st.DataObject, draining: bool) -> None:
        self.renew(worker_id, data.draw(st.sampled_from(self.epochs)), draining)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), draining=st.booleans())
    def renew_what_is_held(self, data: st.DataObject, draining: bool) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.leased)))
        self.renew(worker_id, self.leased[worker_id].epoch, draining)

    def renew(self, worker_id: str, epoch: int, draining: bool) -> None:
        one = self.leased.get(worker_id)
        got = self.outcome(self.registry.renew_lease(worker_id, epoch, LoadReport(rows=epoch), draining))
        if one is None or one.epoch != epoch:
            assert got == "LeaseFenced"
        else:
            assert got == "ok"
            one.expires = self.monotonic() + TTL_S
            one.draining = one.draining or draining

    @rule(worker_id=WORKERS)
    def drain_any(self, worker_id: str) -> None:
        self.drain(worker_id)

    def drain(self, worker_id: str) -> None:
        got = self.outcome(self.registry.drain_worker(worker_id))
        assert got == ("ok" if worker_id in self.leased else "NotFound")
        if worker_id in self.leased:
            self.leased[worker_id].draining = True

    @rule(worker_id=WORKERS)
    def revoke(self, worker_id: str) -> None:
        self.run(self.registry.revoke_lease(worker_id))
        self.leased.pop(worker_id, None)

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def drain_one(self, data: st.DataObject) -> None:
        self.drain(data.draw(st.sampled_from(sorted(self.leased))))

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.wall.now += seconds
        for _ in range(int(seconds) % 15):  # as often as a registry that runs does
            self.monotonic.now += 1.0
            self.run(self.registry.tick())
        self.leased = {id_: one for id_, one in self.leased.items() if one.expires > self.monotonic()}

    # Keys

    @rule(name=st.sampled_from(["ann", "ci"]), scopes=st.sampled_from([("admin",), ("predict:*", "status:a")]))
    def create_key(self, name: str, scopes: tuple[str, ...]) -> None:
        _, key = self.run(self.registry.create_key(name, scopes))
        assert key.key_id not in self.keys
        self.keys[key.key_id] = (name, scopes)

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def revoke_key(self, data: st.DataObject) -> None:
        key_id = data.draw(st.sampled_from(sorted(self.keys)))
        self.run(self.registry.revoke_key(key_id))
        del self.keys[key_id]
        assert self.outcome(self.registry.revoke_key(key_id)) == "NotFound"

    # The log of control calls

    @rule(who=PEOPLE, subject=NAMES)
    def note(self, who: str, subject: str) -> None:
        audit = Audit(round(self.wall(), 3), who, "Undeploy", subject, "", "UNCHANGED", "call")
        self.run(self.registry.note(audit))
        self.log.append((audit.time, who, subject))

    @precondition(lambda self: self.log)
    @rule(subject=NAMES)
    def read_the_log(self, subject: str) -> None:
        expected = [line for line in reversed(self.log) if line[2] == subject]
        found = self.run(self.registry.audit(subject, 0.0, 0, 1000))
        assert [(a.time, a.principal, a.subject) for a in found] == expected
        assert [a.id for a in found] == sorted({a.id for a in found}, reverse=True)

    # The process ends

    @rule()
    def reopen(self) -> None:
        self.open()

    @rule()
    def crash(self) -> None:
        self.run(self.backend.crash())
        self.open()

    # What must be so after each step

    @invariant()
    def the_registry_is_like_the_model(self) -> None:
        assert {key.key_id: (key.name, key.scopes) for key in self.registry.keyring.list()} == self.keys
        for name, known in self.models.items():
            view = self.registry.model(name)
            assert [v.version.number for v in view.versions] == list(known.versions)
            assert dict(view.aliases) == known.aliases
            assert view.settings == known.settings
            assert {v.version.number for v in view.versions if v.desired_instances} == self.wanted(name)
            assert {v.version.number for v in view.versions if v.state is State.AVAILABLE} == self.available(name)
            changes = [(c.alias, c.version, c.previous, c.time, c.principal) for c in self.changes(name)]
            assert changes == known.changes

    def changes(self, name: str) -> list[Any]:
        return list(reversed(self.registry.alias_changes(name, "")))

    @invariant()
    def the_store_is_like_the_model(self) -> None:
        stored = self.run(self.store.load())
        assert {model.name for model in stored.models} == set(self.models)
        for model in stored.models:
            known = self.models[model.name]
            assert [v.number for v in model.versions] == list(known.versions)
            for version in model.versions:
                said = known.versions[version.number]
                assert (version.placement, version.instances) == (said.placement, said.instances)
                assert (version.signature == SIGNATURE) is said.has_signature
                assert version.manifest.files == draft(content=said.content).files
            assert (dict(model.aliases), model.settings) == (known.aliases, known.settings)
        workers = {w.worker_id: (w.epoch, w.name, w.version, w.state is State.UNLOADING) for w in stored.workers}
        assert workers == {id_: (w.epoch, w.name, w.version, w.draining) for id_, w in self.leased.items()}
        assert [(key.key_id, key.created) for key in stored.keys] == [
            (key.key_id, key.created)
            for key in sorted(self.registry.keyring.list(), key=lambda key: (key.created, key.key_id))
        ]

    @invariant()
    def the_newest_line_of_the_log_is_the_last(self) -> None:
        newest = self.run(self.registry.audit("", 0.0, 0, 1))
        assert [(a.time, a.principal, a.subject) for a in newest] == self.log[-1:]

    @invariant()
    def each_start_is_later_and_the_registry_is_the_same(self) -> None:
        assert self.revisions == sorted(set(self.revisions))
        assert len(self.ids) == 1


def agree(make: Callable[[], Backend], examples: int) -> None:
    machine = type("Machine", (Machine,), {"make": staticmethod(make)})
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=40))


def test_sqlite_is_like_the_model() -> None:
    with tempfile.TemporaryDirectory() as folder:
        numbers = count()
        agree(lambda: SqliteBackend(Path(folder) / f"{next(numbers)}.db"), 100)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """A fresh part of an etcd, each time."""
    if not has_etcd():
        pytest.skip(WHERE)
    numbers = count()
    with etcd(tmp_path_factory.mktemp("etcd")) as made:
        yield lambda: made.url(f"fresh/{next(numbers)}")


def test_etcd_is_like_the_model(url: Callable[[], str]) -> None:
    agree(lambda: EtcdBackend(url()), 60)
