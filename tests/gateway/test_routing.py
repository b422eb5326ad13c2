from __future__ import annotations

import pytest

from penstock import errors
from penstock.gateway.routing import Route, State, is_expected, resolve, why_unavailable

ROUTES = {
    "digits": Route({"stable": 2, "canary": 3}, {1: State.UNDEPLOYED, 2: State.SERVING, 3: State.LOADING}),
    "digest": Route({}, {4: State.FAILED}),
}


@pytest.mark.parametrize(
    ("version", "alias", "found"), [(0, "stable", 2), (0, "canary", 3), (1, "", 1), (3, "stable", 3)]
)
def test_a_version_or_an_alias_names_the_version(version: int, alias: str, found: int) -> None:
    assert resolve(ROUTES, "digits", version, alias) == found


def test_an_unknown_model_is_named_with_its_neighbours() -> None:
    with pytest.raises(errors.ModelNotFound, match="did you mean 'digits'") as refused:
        resolve(ROUTES, "digitz", 0, "stable")
    assert refused.value.resource == ("model", "digitz")
    assert refused.value.metadata == {"model": "digitz"}


def test_a_model_that_the_caller_may_not_see_is_not_hinted_at() -> None:
    with pytest.raises(errors.ModelNotFound) as refused:
        resolve(ROUTES, "digitz", 0, "stable", lambda name: name == "digest")
    assert "'digits'" not in refused.value.message


def test_with_nothing_near_the_way_to_list_is_named() -> None:
    with pytest.raises(errors.ModelNotFound, match="penstock status"):
        resolve({}, "digits", 0, "stable")


def test_an_unknown_alias_is_answered_with_those_there_are() -> None:
    with pytest.raises(errors.AliasNotFound, match="canary, stable") as refused:
        resolve(ROUTES, "digits", 0, "beta")
    assert refused.value.resource == ("alias", "digits/beta")


def test_a_model_without_aliases_says_so() -> None:
    with pytest.raises(errors.AliasNotFound, match="it has none"):
        resolve(ROUTES, "digest", 0, "stable")


def test_an_unknown_version_is_answered_with_those_there_are() -> None:
    with pytest.raises(errors.VersionNotFound, match="1, 2, 3") as refused:
        resolve(ROUTES, "digits", 9, "")
    assert refused.value.resource == ("version", "digits/9")


def test_of_many_versions_the_newest_are_listed() -> None:
    routes = {"m": Route({}, dict.fromkeys(range(1, 500), State.SERVING))}
    with pytest.raises(errors.VersionNotFound, match=r"it has 492, .*, 499$"):
        resolve(routes, "m", 1000, "")


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("digits", 1, errors.ModelNotDeployed),
        ("digits", 2, errors.NoLiveWorker),
        ("digits", 3, errors.ModelLoading),
        ("digest", 4, errors.ModelLoadFailed),
        ("gone", 1, errors.ModelNotDeployed),
    ],
)
def test_the_state_of_a_version_says_why_nobody_answers(
    name: str, version: int, expected: type[errors.PenstockError]
) -> None:
    error = why_unavailable(ROUTES, name, version)
    assert type(error) is expected
    assert error.metadata == {"model": name, "version": str(version)}


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [("digits", 1, False), ("digits", 2, True), ("digits", 3, True), ("digest", 4, False), ("gone", 1, False)],
)
def test_only_for_what_may_come_does_waiting_make_sense(name: str, version: int, expected: bool) -> None:
    assert is_expected(ROUTES, name, version) is expected
