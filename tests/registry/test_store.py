from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import StorageFull
from penstock.optimization import Candidate, Optimization, Optimized
from penstock.registry import rules
from penstock.registry.state import Batching, Examples, Key, LoadReport, Placement, State
from penstock.registry.stores.migrations import STEPS
from penstock.registry.stores.sqlite import SqliteStore
from penstock.servable import Padding
from penstock.signature import Dim, Signature, TensorSpec

from .conftest import draft, stored, worker

SIGNATURE = Signature(
    (TensorSpec("FP32", [Dim("batch", 1, 64), 16], "x"),), (TensorSpec("INT64", ["batch"], "y"),), "batch"
)


EXAMPLES: dict[str, Any] = {"examples": Examples("model.pt2", "", 0.0, None), "optimization": Optimization.AUTO}
OPTIMIZED = Optimized(
    "aot", (Candidate("plain", {1: 0.25, 64: 2.0}), Candidate("aot", {1: 0.125}), Candidate("x", {}, "no"))
)


async def test_everything_is_there_again_after_reopening(tmp_path: Path) -> None:
    batching = Batching(64, 0.25, 1000, Padding(-1.5, {"ids": "mask"}, (64, 128), 0.25))
    text = "'; DROP TABLE versions; --"
    first = rules.publish(None, draft(batching=batching, labels={"note": text}, **EXAMPLES), 12.3456, text).model
    second = rules.publish(first, draft(instances=3, device="cuda:1", aliases=("canary",)), 13.0, "bob").model
    loaded = replace(second.versions[0], signature=SIGNATURE, placement=Placement.PINNED)
    third = rules.with_version(second, loaded)
    key = Key("ab" * 8, "ci", ("admin", "predict:*"), b"\x01" * 32, 14.5)
    async with stored(tmp_path / "db") as store:
        await store.save_model(None, first, first.changes)
        await store.save_model(first, second, second.changes[1:])
        await store.save_model(second, third, ())
        report = LoadReport(1, 2, 3, 4, 0.5)
        leased = await store.grant(
            worker(report=report, max_batch_size=8, pid=99, local_address="/run/w.x", optimized=OPTIMIZED)
        )
        draining = replace(leased, state=State.UNLOADING)
        await store.save_worker(draining)
        await store.save_key(key)
    async with stored(tmp_path / "db") as store:
        found = await store.load()
    assert found.models == (third,)
    assert found.workers == (draining,)
    assert found.keys == (key,)


async def test_epochs_grow_for_ever(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        async with stored(tmp_path / "db") as store:
            epochs += [(await store.grant(worker("a"))).epoch, (await store.grant(worker("a"))).epoch]
            await store.drop_workers(["a", "unknown"])
    assert epochs == sorted(set(epochs))


async def test_runs_are_counted(tmp_path: Path) -> None:
    runs = []
    for _ in range(3):
        async with stored(tmp_path / "db") as store:
            runs.append(await store.begin_run())
    assert runs == [1, 2, 3]


async def test_a_store_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    async with stored(tmp_path / "db"):
        pass
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        db.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(ValueError, match="start the newer penstock that wrote it"):
        SqliteStore(tmp_path / "db")


async def test_a_full_disk_is_told_and_changes_nothing(tmp_path: Path) -> None:
    model = rules.publish(None, draft(labels={"big": "x" * 4000}), 1.0, "ann").model
    many = rules.Decision(model)
    for _ in range(50):
        many = rules.publish(many.model, draft(labels={"big": "x" * 4000}), 1.0, "ann")
    async with stored(tmp_path / "db") as store:
        await store.save_model(None, model, model.changes)
        pages = store._tables._db.execute("PRAGMA page_count").fetchone()[0]
        store._tables._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StorageFull):
            await store.save_model(model, many.model, ())
        assert (await store.load()).models == (model,)
        store._tables._db.execute("PRAGMA max_page_count = 1000000")
        await store.save_model(model, many.model, ())
        assert (await store.load()).models == (many.model,)


async def test_a_failed_step_leaves_the_older_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stored(tmp_path / "db") as store:
        leased = await store.grant(worker())
    broken = (*STEPS, ("CREATE TABLE extra (x)", "nonsense"))
    with monkeypatch.context() as patch:
        patch.setattr("penstock.registry.stores.migrations.STEPS", broken)
        with pytest.raises(sqlite3.OperationalError):
            SqliteStore(tmp_path / "db")
    async with stored(tmp_path / "db") as store:
        assert (await store.load()).workers == (leased,)
