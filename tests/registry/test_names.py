from __future__ import annotations

import pytest

from penstock.errors import InvalidArgument, ModelNotFound, VersionNotFound
from penstock.registry.names import MAX_VERSION, is_name, known_model, known_version, quoted
from penstock.registry.state import Model


@pytest.mark.parametrize("name", ["a", "0", "digits", "resnet-50_v1.5", "x" * 128, "con"])
def test_a_name_may_be(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", " ", "../x", "/etc", "a/../b", "a\0b", "x" * 129, "CON", ".", "...", "a..b", "-a", "a\n", "dïgits"]
)
def test_a_name_may_not_be(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(InvalidArgument) as caught:
        known_model({}, name)
    assert caught.value.violations[0].field == "name"


def test_an_unknown_model_is_answered_with_what_may_have_been_meant() -> None:
    with pytest.raises(ModelNotFound, match="there is no model 'digit'; did you mean 'digits'\\?") as caught:
        known_model({"digits": Model("digits"), "speech": Model("speech")}, "digit")
    assert caught.value.resource == ("model", "digit")


@pytest.mark.parametrize("number", [0, -1, MAX_VERSION + 1, 2**63 - 1])
def test_a_version_is_a_positive_number_below_the_bound(number: int) -> None:
    with pytest.raises(InvalidArgument):
        known_version(Model("digits"), number)


def test_an_unknown_version_is_named_with_its_model() -> None:
    with pytest.raises(VersionNotFound) as caught:
        known_version(Model("digits"), 7)
    assert caught.value.resource == ("version", "digits:7")


def test_a_callers_text_stands_in_messages_on_one_short_line() -> None:
    assert quoted("a\nb\x1b[31m") == "'a\\nb\\x1b[31m'"
    assert len(quoted("x" * 10_000)) == 66
