from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from penstock.gateway.splitting import Mirror, Rules, chosen, key_of, mirrored

KEYS = [f"user-{number}".encode() for number in range(20_000)]
RULES = Rules("digits", "stable", 1, 5, ((1, 90.0), (2, 10.0)), "x-user-id", frozenset({1, 2, 3}))


def met(rules: Rules) -> dict[bytes, int]:
    return {key: chosen(rules, key) for key in KEYS}


@pytest.mark.parametrize("parts", [((1, 90.0), (2, 10.0)), ((1, 0.9), (2, 0.1)), ((1, 1.0), (2, 1.0), (3, 2.0))])
def test_shares_are_those_of_the_weights(parts: tuple[tuple[int, float], ...]) -> None:
    counts = Counter(met(replace(RULES, parts=parts)).values())
    total = sum(weight for _, weight in parts)
    for version, weight in parts:
        assert counts[version] / len(KEYS) == pytest.approx(weight / total, abs=0.01)


def test_a_key_meets_the_same_version_in_every_gateway_and_release() -> None:
    """Fixed for ever: a gateway of another release beside this one must agree."""
    halves = replace(RULES, parts=((1, 50.0), (2, 50.0)))
    assert [chosen(halves, f"user-{n}".encode()) for n in range(16)] == [2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 2, 1, 1, 1, 2]


def test_neither_revision_nor_order_nor_alias_change_what_a_key_meets() -> None:
    other = replace(RULES, revision=6, alias="beta", parts=RULES.parts[::-1])
    assert met(other) == met(RULES)


def test_two_models_do_not_give_the_same_users_the_new_version() -> None:
    mine, other = met(RULES), met(replace(RULES, name="speech"))
    both = sum(mine[key] == other[key] == 2 for key in KEYS) / len(KEYS)
    assert both == pytest.approx(0.01, abs=0.004)


def test_a_step_of_a_canary_moves_keys_only_to_the_new_version() -> None:
    before = met(RULES)
    for share in (25.0, 50.0, 99.0):
        after = met(replace(RULES, parts=((1, 100.0 - share), (2, share))))
        assert all(after[key] == 2 for key in KEYS if before[key] == 2)
        before = after


def test_a_version_that_is_added_takes_keys_from_all_and_moves_no_others() -> None:
    before, after = met(RULES), met(replace(RULES, parts=(*RULES.parts, (3, 20.0))))
    moved = {key for key in KEYS if before[key] != after[key]}
    assert {after[key] for key in moved} == {3}
    assert {before[key] for key in moved} == {1, 2}


def test_what_a_version_that_does_not_answer_should_have_goes_to_the_aliass_own() -> None:
    assert set(met(replace(RULES, own=3, available=frozenset({1, 3}))).values()) == {1, 3}


def test_without_a_split_all_goes_to_the_aliass_own() -> None:
    assert set(met(replace(RULES, parts=())).values()) == {1}


@pytest.mark.parametrize(
    ("metadata", "split_key", "key"),
    [
        ({"x-penstock-split-key": "b", "x-user-id": "c"}, "a", b"a"),
        ({"x-penstock-split-key": "b", "x-user-id": "c"}, "", b"b"),
        ({"x-user-id": "c"}, "", b"c"),
        ({"x-user-id": b"\xff\x00"}, "", b"\xff\x00"),
        ({"x-user-id": ""}, "", b"request"),
        ({}, "", b"request"),
        ({}, "é", "é".encode()),
    ],
)
def test_a_requests_key_is_the_first_that_there_is(
    metadata: dict[str, str | bytes], split_key: str, key: bytes
) -> None:
    assert key_of(RULES, metadata, split_key, "request") == key


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_share_of_requests_is_mirrored_whoever_asks(share: float) -> None:
    rules = replace(RULES, mirror=Mirror(3, share, 0.001, 1))
    found = sum(mirrored(rules, 1, f"request-{number}") for number in range(20_000))
    assert found / 20_000 == pytest.approx(share, abs=0.01)


def test_a_version_is_not_mirrored_to_itself_and_nothing_without_a_shadow() -> None:
    assert not mirrored(replace(RULES, mirror=Mirror(2, 1.0, 0.001, 1)), 2, "request")
    assert not mirrored(RULES, 1, "request")
