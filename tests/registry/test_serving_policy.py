from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import InvalidArgument, VersionNotFound
from penstock.registry import placement
from penstock.registry.serving_policy import FIELDS, chosen, device, instances, with_policy
from penstock.registry.serving_records import serving_from_message, serving_to_message
from penstock.registry.state import Model, ServingPolicy, Version, VersionPolicy
from penstock.v1 import registry_pb2 as pb

from .test_placement import MOVED
from .test_rules import model

LATEST_2, ALL = VersionPolicy(latest=2), VersionPolicy(all=True)
PINNED = VersionPolicy(pinned=(1, 3))


def policy(before: Model, **fields: object) -> Model:
    return with_policy(before, ServingPolicy(**fields), [known for known in FIELDS if FIELDS[known] in fields])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "versions", "expected"),
    [
        (model(1, 2, 3), VersionPolicy(), {3}),
        (model(9, 4), VersionPolicy(), {4}),  # the newest is the last published, not the greatest
        (model(1, 2, 3), LATEST_2, {2, 3}),
        (model(9, 4, 7), LATEST_2, {4, 7}),
        (model(1), LATEST_2, {1}),
        (model(1, 2, 3), PINNED, {1, 3}),
        (model(1, 2, 3), ALL, {1, 2, 3}),
    ],
)
def test_the_versions_that_a_policy_names(case: Model, versions: VersionPolicy, expected: set[int]) -> None:
    assert chosen(policy(case, versions=versions)) == expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (policy(model(1, 2, 3), versions=LATEST_2), {1: 1, 2: 1, 3: 1}),  # 1: `stable`
        (policy(model(1, 2, 3, 4), versions=PINNED), {1: 1, 2: 0, 3: 1, 4: 0}),
        (policy(placement.undeploy(model(1, 2, 3), 2), versions=ALL), {1: 1, 2: 0, 3: 1}),
        (policy(placement.deploy(model(1, 2, 3, 4), 2, 0, ""), versions=PINNED), {1: 1, 2: 1, 3: 1, 4: 0}),
        (policy(model(1, 2, 3), versions=ALL, instances=2), {1: 2, 2: 2, 3: 2}),
        (placement.deploy(model(1, 2, 3), 0, 2, ""), {1: 2, 2: 0, 3: 2}),
        (placement.deploy(placement.deploy(model(1, 2, 3), 3, 4, ""), 0, 0, ""), {1: 1, 2: 0, 3: 4}),
        (placement.deploy(placement.deploy(model(1, 2, 3), 3, 4, ""), 0, 2, ""), {1: 2, 2: 0, 3: 2}),
    ],
)
def test_a_policy_beside_aliases_pins_and_what_versions_say(case: Model, expected: dict[int, int]) -> None:
    assert placement.desired_instances(case, 1e9) == expected


def test_where_and_how_often_a_version_runs_it_says_itself_or_else_its_model() -> None:
    plain, own = model(1).versions[0], replace(model(1).versions[0], instances=3, device="cpu")
    asked = policy(model(1), instances=2, device="cuda:1")

    def where(case: Model, version: Version) -> tuple[int, str]:
        return instances(case, version), device(case, version)

    assert [where(case, v) for case in (model(1), asked) for v in (plain, own)] == [
        (1, "auto"),
        (3, "cpu"),
        (2, "cuda:1"),
        (3, "cpu"),
    ]


@pytest.mark.parametrize(
    ("keep_warm_s", "now", "end"),
    [
        (None, 20.0 + 299.9, 320.0),
        (None, 20.0 + 300.0, None),
        (5.0, 24.9, 25.0),
        (5.0, 25.0, None),
        (0.0, 20.0, None),
        (1000.0, 20.0 + 999.0, 1020.0),
    ],
)
def test_how_long_a_version_stays_warm_is_the_models_own_or_the_registrys(
    keep_warm_s: float | None, now: float, end: float | None
) -> None:
    case = policy(MOVED, keep_warm_s=keep_warm_s)  # the alias left 1 and 2 at 20
    assert placement.only_warm(case, now) == ({} if end is None else {1: end, 2: end})
    assert placement.next_change(case, now) == end


def test_what_is_loaded_for_another_reason_is_not_only_warm() -> None:
    assert placement.only_warm(policy(MOVED, versions=ALL), 21.0) == {}
    assert placement.only_warm(placement.deploy(MOVED, 2, 0, ""), 21.0).keys() == {1}
    assert placement.only_warm(placement.undeploy(MOVED, 1), 21.0).keys() == {2}


def test_only_the_fields_that_are_named_change() -> None:
    first = policy(model(1), instances=2, keep_warm_s=7.0)
    second = with_policy(first, ServingPolicy(device="cpu"), ["device", "keep_warm"])
    assert second.settings.serving == ServingPolicy(instances=2, device="cpu")
    assert with_policy(second, ServingPolicy(instances=5), []) == second


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"versions": VersionPolicy(latest=-1)}, r"policy\.versions\.latest: -1 versions"),
        ({"versions": VersionPolicy(latest=1001)}, r"policy\.versions\.latest"),
        ({"versions": VersionPolicy(pinned=(0,))}, r"policy\.versions\.pinned: 0 is not a version"),
        ({"versions": VersionPolicy(pinned=(1,) * 101)}, r"at most 100"),
        ({"instances": -1}, r"policy\.instances: -1 workers"),
        ({"device": "GPU!"}, r"policy\.device"),
        ({"keep_warm_s": -1.0}, r"policy\.keep_warm: -1 s"),
        ({"keep_warm_s": float("nan")}, r"policy\.keep_warm"),
        ({"idle_s": 1e9}, r"policy\.idle: 1e\+09 s"),
        ({"idle_s": 1.0}, r"policy\.idle: 1 s: must be from 5 "),
    ],
)
def test_a_bad_policy_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        policy(model(1), **fields)


def test_an_unknown_field_or_version_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'colour' is no field of a policy; they are versions, "):
        with_policy(model(1), ServingPolicy(), ["colour"])
    with pytest.raises(VersionNotFound):
        policy(model(1), versions=PINNED)


@pytest.mark.parametrize(
    "value",
    [
        ServingPolicy(),
        ServingPolicy(LATEST_2, 3, "cuda:1", 0.25, resource_preserving=True),
        ServingPolicy(PINNED, keep_warm_s=0.0, lazy=True, idle_s=7.5),
        ServingPolicy(ALL),
    ],
)
def test_a_policy_is_the_same_on_the_wire(value: ServingPolicy) -> None:
    assert serving_from_message(serving_to_message(value)) == value


def test_what_no_value_can_be_is_unset() -> None:
    none = pb.ServingPolicy(versions=pb.VersionPolicy(all=False))
    assert serving_from_message(none) == ServingPolicy()
    none.versions.pinned.SetInParent()
    assert serving_from_message(none) == ServingPolicy()
