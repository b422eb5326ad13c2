from __future__ import annotations

import json

import pytest

from penstock.cli.options import Format
from penstock.cli.status import print_status
from penstock.cli.traffic_report import print_traffic
from penstock.client import ModelStatus
from penstock.client.traffic import traffic_status
from penstock.v1 import traffic_pb2 as pb

LATENCY = pb.Histogram(buckets=[-64, -56], counts=[90, 10])
TRAFFIC = pb.AliasTraffic(
    alias="stable",
    revision=4,
    split=pb.TrafficSplit(
        parts=[pb.SplitPart(version=1, weight=9), pb.SplitPart(version=2, weight=1)], sticky_key="x-user-id"
    ),
    shadow=pb.TrafficShadow(version=2, share=0.25),
    canary=pb.Canary(
        version=2,
        baseline=1,
        policy=pb.CanaryPolicy(steps=[10, 50, 100]),
        state=pb.CANARY_STATE_RUNNING,
        step=1,
        explanation="waits: 500 requests are wanted",
    ),
    changes=[pb.TrafficChange(revision=4, principal="ann", change="canary: goes on [again]")],
    evidence=pb.TrafficEvidence(
        arms=[pb.ArmFigures(version=2, requests=100, failures=5, latency=LATENCY, pending=3)],
        comparisons=[
            pb.ComparisonFigures(
                version=1,
                shadow_version=2,
                mirrored=12,
                dropped=1,
                same=2,
                compared=8,
                disagreed=5,
                rows=8,
                top1_rows=6,
                relative=pb.Histogram(buckets=[-53], counts=[8]),
                latency=LATENCY,
                shadow_latency=LATENCY,
                slower_seconds=2.0,
            )
        ],
    ),
)


def test_a_table_says_what_is_set_what_was_counted_and_who_did_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_traffic([TRAFFIC], Format.TABLE)
    shown = capsys.readouterr().out
    assert "stable is split: version 1 90.00%, version 2 10.00%, sticky by x-user-id" in shown
    assert "stable is mirrored: 25.00% of what is answered goes to version 2" in shown
    assert "stable canary version 2 (before: 1) RUNNING, step 2 of 3: waits: 500 requests are wanted" in shown
    assert "50.00%" in shown
    assert "75.00%" in shown
    assert "canary: goes on [again]" in shown


def test_json_has_all_figures(capsys: pytest.CaptureFixture[str]) -> None:
    print_traffic([TRAFFIC], Format.JSON)
    (found,) = json.loads(capsys.readouterr().out)
    (arm,), (compared,) = found["arms"], found["comparisons"]
    assert (arm["requests"], arm["failures"], arm["pending"]) == (100, 5, 3)
    assert arm["p50_s"] == pytest.approx(2**-8, rel=0.05)
    assert arm["p95_s"] == pytest.approx(2**-7, rel=0.05)
    assert (compared["same"], compared["disagreed"], compared["slower_s"]) == (2, 5, 0.02)
    assert compared["relative"] == pytest.approx(0.01, rel=0.05)
    assert (found["canary"]["state"], found["canary"]["step"]) == ("RUNNING", 2)
    assert found["changes"][0]["by"] == "ann"


def test_an_alias_without_traffic_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_traffic([], Format.TABLE)
    assert "all requests go to the version" in capsys.readouterr().out


def test_status_says_what_decides_where_requests_go(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_status([ModelStatus("digits", (), {"stable": 1}, (traffic_status(TRAFFIC),))], Format.TABLE)
    assert "digits@stable canary version 2 (before: 1) RUNNING, step 2 of 3: waits" in capsys.readouterr().out
