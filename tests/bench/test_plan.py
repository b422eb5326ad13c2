from __future__ import annotations

from typing import Any

import pytest

from penstock.bench.plan import Plan

ONE: dict[str, Any] = {"address": "127.0.0.1:1", "bodies": (b"\x00\xff",)}


def test_a_plan_survives_the_way_to_its_process() -> None:
    plan = Plan(**ONE, rate=10, headers=(("authorization", "Bearer x"),), watched=(1, 2), deadline=0.05)
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "rate .* or a concurrency"),
        ({"rate": 1, "concurrency": 1}, "not both"),
        ({"rate": 1, "lane": "pigeon"}, "lane is one of unary, stream"),
        ({"rate": 1, "duration": 0}, "duration must be positive"),
        ({"rate": 1, "connections": 0}, "at least one connection"),
    ],
)
def test_what_cannot_be_run_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(**ONE, **more)


def test_the_load_is_shared_out_whole() -> None:
    parts = Plan(**ONE, concurrency=10, watched=(7,)).split(3)
    assert sum(part.concurrency for part in parts) == 10
    assert [part.watched for part in parts] == [(7,), (), ()]
    assert sum(part.rate for part in Plan(**ONE, rate=9).split(2)) == 9
    assert len({part.seed for part in parts}) == 3


def test_fewer_requests_than_generators_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cannot be split among 3"):
        Plan(**ONE, concurrency=2).split(3)
