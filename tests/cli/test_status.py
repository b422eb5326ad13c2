from __future__ import annotations

import json

import pytest

from penstock.cli.options import Format
from penstock.cli.status import print_status
from penstock.client import InstanceStatus, ModelStatus, VersionStatus
from penstock.optimization import Candidate, Optimized

READY = InstanceStatus("w1", "cpu", "AVAILABLE", "", 1.0, 3, 99, "unix+shm", 0.123)
LOADING = InstanceStatus("w2", "cuda:0", "LOADING", "warming up", 0.6, 0, 100)
VERSION = VersionStatus(1, "AVAILABLE", "", ("stable",), (READY, LOADING), "python", False, 2)
MODELS = [ModelStatus("texts", (VERSION,), {"stable": 1})]


def test_a_table_says_of_each_instance_where_it_runs_how_it_is_reached_and_what_is_filled_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_status(MODELS, Format.TABLE)
    assert "1/2 w1 (cpu, unix+shm, 12% filled in) w2 (cuda:0, warming up)" in capsys.readouterr().out


def test_json_has_all_figures(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(MODELS, Format.JSON)
    [model] = json.loads(capsys.readouterr().out)
    [ready, loading] = model["versions"][0]["instances"]
    assert (ready["carrier"], ready["padded_share"]) == ("unix+shm", 0.123)
    assert (loading["carrier"], loading["padded_share"]) == ("", 0.0)


PLAIN, AOT = Candidate("plain", {1: 0.001, 64: 0.003}), Candidate("aot", {1: 0.0002, 64: 0.001})
FAILED = Candidate("aot", {}, "no C++ compiler")


@pytest.mark.parametrize(
    ("optimized", "said"),
    [
        (Optimized("aot", (PLAIN, AOT)), "1/1 w1 (cpu, unix+shm, aot, 3.0 times as fast)"),
        (Optimized("plain", (PLAIN, AOT)), "1/1 w1 (cpu, unix+shm, plain)"),
        (Optimized("plain", (PLAIN, FAILED)), "1/1 w1 (cpu, unix+shm, plain; aot: no C++ compiler)"),
        (Optimized("aot", ()), "1/1 w1 (cpu, unix+shm, aot)"),
    ],
)
def test_it_is_said_how_an_instance_computes_and_what_that_is_worth(
    optimized: Optimized, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    instance = InstanceStatus("w1", "cpu", "AVAILABLE", "", 1.0, 3, 99, "unix+shm", optimized=optimized)
    version = VersionStatus(1, "AVAILABLE", "", (), (instance,), "python", False, 1)
    print_status([ModelStatus("m", (version,), {})], Format.TABLE)
    assert said in capsys.readouterr().out
    print_status([ModelStatus("m", (version,), {})], Format.JSON)
    [model] = json.loads(capsys.readouterr().out)
    assert model["versions"][0]["instances"][0]["optimized"]["chosen"] == optimized.chosen
